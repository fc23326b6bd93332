package main

import (
	"context"
	"io"
	"os"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// informer follows ConfigMaps and Pods as controllers do, which since client-go 1.35 is by watch-list.
func informer(ctx context.Context, c *client, _ []string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(c.namespace))
	stores := map[string]cache.SharedIndexInformer{
		"ConfigMap": factory.Core().V1().ConfigMaps().Informer(),
		"Pod":       factory.Core().V1().Pods().Informer(),
	}
	for kind, informer := range stores {
		if _, err := informer.AddEventHandler(events(kind)); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	for kind, informer := range stores {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			say(map[string]any{"event": "synced", "kind": kind})
		}
	}
	<-ctx.Done()
	factory.Shutdown()
	for kind, informer := range stores {
		if err := sayStore(kind, informer.GetStore()); err != nil {
			return err
		}
	}
	return nil
}

func events(kind string) cache.ResourceEventHandlerDetailedFuncs {
	event := func(what string, object any) {
		line := identity(object.(metav1.Object))
		line["event"], line["kind"] = what, kind
		say(line)
	}
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			if initial {
				event("initial", object)
			} else {
				event("add", object)
			}
		},
		UpdateFunc: func(_, object any) { event("update", object) },
		DeleteFunc: func(object any) {
			if unknown, missed := object.(cache.DeletedFinalStateUnknown); missed {
				object = unknown.Obj
			}
			event("delete", object)
		},
	}
}

// sayStore prints whole objects: two informers on the same cluster end with the same.
func sayStore(kind string, store cache.Store) error {
	keys := store.ListKeys()
	slices.Sort(keys)
	objects := []any{}
	for _, key := range keys {
		object, _, err := store.GetByKey(key)
		if err != nil {
			return err
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return err
		}
		objects = append(objects, fields)
	}
	say(map[string]any{"event": "store", "kind": kind, "objects": objects})
	return nil
}
