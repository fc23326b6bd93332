package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// watches opens COUNT watches on a ConfigMap, changes it, and says what each of them missed. Servers may
// end watches and refuse calls meanwhile: everything is tried again from where it was.
func watches(ctx context.Context, c *client, args []string) error {
	flags := flag.NewFlagSet("watches", flag.ExitOnError)
	changes := flags.Int("changes", 100, "how often the object is changed")
	interval := flags.Duration("interval", 20*time.Millisecond, "between two changes")
	patience := flags.Duration("patience", time.Minute, "how long a change may take, and watches to see the last one")
	writer := flags.String("writer", "", "a kubeconfig for the changes, which else are the watching user's")
	flags.Parse(args)
	count, err := strconv.Atoi(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("how many watches: %w", err)
	}
	changing := c
	if *writer != "" {
		if changing, err = newClient(*writer, c.namespace); err != nil {
			return err
		}
	}
	churn := &churn{configMaps: changing.CoreV1().ConfigMaps(c.namespace), patience: *patience}
	if err := churn.create(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	followers, finished := follow(ctx, c, churn.object, count)
	say(map[string]any{"event": "watching", "responses": c.responses.byProtocol()})
	if err := churn.run(ctx, *changes, *interval); err != nil {
		return err
	}
	say(map[string]any{"event": "written", "changes": len(churn.versions)})
	time.AfterFunc(*patience, stop)
	finished.Wait()
	for number, follower := range followers {
		follower.report(number, churn.versions)
	}
	say(map[string]any{"event": "ended", "responses": c.responses.byProtocol()})
	return churn.configMaps.Delete(context.WithoutCancel(ctx), churn.object.Name, metav1.DeleteOptions{})
}

// churn is one object and the versions that its changes made.
type churn struct {
	configMaps corev1client.ConfigMapInterface
	patience   time.Duration
	object     *corev1.ConfigMap
	versions   []string
}

func (c *churn) create(ctx context.Context) (err error) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}}
	c.object, err = c.configMaps.Create(ctx, object, metav1.CreateOptions{})
	return err
}

func (c *churn) run(ctx context.Context, changes int, interval time.Duration) error {
	for change := 1; change <= changes; change++ {
		patch := fmt.Appendf(nil, `{"data":{"change":"%d","last":"%t"}}`, change, change == changes)
		var failure error
		err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, c.patience, true, func(ctx context.Context) (bool, error) {
			var object *corev1.ConfigMap
			object, failure = c.configMaps.Patch(ctx, c.object.Name, types.MergePatchType, patch, metav1.PatchOptions{})
			if failure == nil {
				c.versions = append(c.versions, object.ResourceVersion)
			}
			return failure == nil, nil
		})
		if err != nil {
			return fmt.Errorf("change %d: %w: %w", change, err, failure)
		}
		time.Sleep(interval)
	}
	return nil
}

// follower is one watch, and those that took its place when it was ended.
type follower struct {
	configMaps corev1client.ConfigMapInterface
	object     string
	version    string
	seen       map[string]int
	watches    int
	failures   int
	expired    bool
	sawLast    bool
}

// follow returns when every watch is open, or has failed for the first time.
func follow(ctx context.Context, c *client, object *corev1.ConfigMap, count int) ([]*follower, *sync.WaitGroup) {
	followers, opened, finished := make([]*follower, count), &sync.WaitGroup{}, &sync.WaitGroup{}
	opened.Add(count)
	for number := range followers {
		follower := &follower{
			configMaps: c.CoreV1().ConfigMaps(c.namespace),
			object:     object.Name, version: object.ResourceVersion, seen: map[string]int{},
		}
		followers[number] = follower
		once := sync.OnceFunc(opened.Done)
		finished.Go(func() {
			defer once()
			for !follower.sawLast && ctx.Err() == nil {
				follower.watch(ctx, once)
			}
		})
	}
	opened.Wait()
	return followers, finished
}

func (f *follower) watch(ctx context.Context, opened func()) {
	options := metav1.SingleObject(metav1.ObjectMeta{Name: f.object, ResourceVersion: f.version})
	options.AllowWatchBookmarks = true
	watching, err := f.configMaps.Watch(ctx, options)
	opened()
	if err != nil {
		f.failures++
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		return
	}
	defer watching.Stop()
	f.watches++
	for event := range watching.ResultChan() {
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			// A Status: the version is too old. What came meanwhile may be missed.
			f.expired, f.version = true, ""
			return
		}
		f.version = object.ResourceVersion
		if object.Name != f.object {
			continue // a bookmark
		}
		f.seen[object.ResourceVersion]++
		if object.Data["last"] == "true" {
			f.sawLast = true
			return
		}
	}
}

func (f *follower) report(number int, written []string) {
	missed, repeated := []string{}, []string{}
	for _, version := range written {
		switch count := f.seen[version]; {
		case count == 0:
			missed = append(missed, version)
		case count > 1:
			repeated = append(repeated, version)
		}
	}
	say(map[string]any{
		"watch": number, "events": len(f.seen), "missed": missed, "repeated": repeated,
		"watches": f.watches, "failures": f.failures, "expired": f.expired, "sawLast": f.sawLast,
	})
}
