package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// pods runs what is bound to this node and reports it.
type pods struct {
	client    kubernetes.Interface
	dir       string
	sandboxes sandboxes

	mutex   sync.Mutex
	running map[types.UID]*localPod
}

// localPod is a pod that was started; it stays the same however often its object changes.
type localPod struct {
	object     *corev1.Pod
	started    time.Time
	containers []*container
	// By container: why it could not start.
	failed map[string]error
	ending bool
	// Absent where the containers share the machine's network.
	isolated *isolated
}

func newPods(client kubernetes.Interface, dir string, sandboxes sandboxes) *pods {
	return &pods{client: client, dir: dir, sandboxes: sandboxes, running: map[types.UID]*localPod{}}
}

// run follows the pods of node until ctx ends.
func (p *pods) run(ctx context.Context, node string) error {
	bound := func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}
	factory := informers.NewSharedInformerFactoryWithOptions(p.client, 0, informers.WithTweakListOptions(bound))
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { p.follow(ctx, object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { p.follow(ctx, object.(*corev1.Pod)) },
		DeleteFunc: func(object any) { p.deleted(object) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

func (p *pods) follow(ctx context.Context, object *corev1.Pod) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	pod, known := p.running[object.UID]
	switch {
	case object.DeletionTimestamp != nil && known:
		p.stop(ctx, pod, gracePeriod(object))
	case object.DeletionTimestamp != nil:
		go p.confirmDeletion(ctx, object)
	case !known && wantsSandbox(object):
		p.startIsolated(ctx, object)
	case !known:
		p.start(ctx, object)
	}
}

func (p *pods) start(ctx context.Context, object *corev1.Pod) {
	pod := &localPod{object: object, started: time.Now(), failed: map[string]error{}}
	p.running[object.UID] = pod
	for _, spec := range object.Spec.Containers {
		container, err := startOnMachine(object, spec, filepath.Join(p.dir, string(object.UID), spec.Name))
		if err != nil {
			pod.failed[spec.Name] = err
			continue
		}
		pod.containers = append(pod.containers, container)
	}
	go p.report(ctx, pod)
}

// report writes the pod's status whenever a container of it ends.
func (p *pods) report(ctx context.Context, pod *localPod) {
	exited := make(chan struct{}, len(pod.containers))
	for _, container := range pod.containers {
		go func() {
			<-container.exited
			exited <- struct{}{}
		}()
	}
	p.writeStatus(ctx, pod)
	for range pod.containers {
		<-exited
		p.writeStatus(ctx, pod)
	}
}

func (p *pods) writeStatus(ctx context.Context, pod *localPod) {
	// The API server refuses it where the name is another pod's by now.
	p.mutex.Lock()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.object.UID},
		"status":   pod.status(),
	})
	p.mutex.Unlock()
	if err == nil {
		_, err = p.client.CoreV1().Pods(pod.object.Namespace).
			Patch(ctx, pod.object.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		klog.ErrorS(err, "Writing a pod's status", "pod", klog.KObj(pod.object))
	}
}

// stop ends the pod once, however often it is asked.
func (p *pods) stop(ctx context.Context, pod *localPod, grace time.Duration) {
	if pod.ending {
		return
	}
	pod.ending = true
	go func() {
		p.finish(pod, grace)
		p.confirmDeletion(ctx, pod.object)
	}()
}

func (p *pods) finish(pod *localPod, grace time.Duration) {
	if pod.isolated != nil {
		pod.isolated.abandon()
	}
	var stopping sync.WaitGroup
	for _, container := range p.containersOf(pod) {
		stopping.Go(func() { container.stop(grace) })
	}
	stopping.Wait()
	if pod.isolated != nil {
		pod.isolated.remove(pod.object)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.running, pod.object.UID)
	if err := os.RemoveAll(filepath.Join(p.dir, string(pod.object.UID))); err != nil {
		klog.ErrorS(err, "Removing a pod's files")
	}
}

// confirmDeletion tells the API server that nothing of the pod runs any more.
func (p *pods) confirmDeletion(ctx context.Context, object *corev1.Pod) {
	options := metav1.NewDeleteOptions(0)
	options.Preconditions = metav1.NewUIDPreconditions(string(object.UID))
	err := p.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, *options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		klog.ErrorS(err, "Deleting a pod that has ended", "pod", klog.KObj(object))
	}
}

// deleted is for pods whose deletion nobody waited for.
func (p *pods) deleted(object any) {
	if unknown, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = unknown.Obj
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	uid := object.(*corev1.Pod).UID
	if pod, known := p.running[uid]; known && !pod.ending {
		pod.ending = true
		delete(p.running, uid)
		go p.finish(pod, 0)
	}
}

// end leaves no process behind.
func (p *pods) end() {
	p.mutex.Lock()
	pods := slices.Collect(maps.Values(p.running))
	p.mutex.Unlock()
	for _, pod := range pods {
		p.finish(pod, 0)
	}
	p.sandboxes.node.end()
}

func gracePeriod(object *corev1.Pod) time.Duration {
	if seconds := object.DeletionGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return 0
}

func (p *pods) list() []*corev1.Pod {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var objects []*corev1.Pod
	for _, pod := range p.running {
		objects = append(objects, pod.object)
	}
	return objects
}

func (p *pods) byName(namespace, name string) (*corev1.Pod, bool) {
	for _, object := range p.list() {
		if object.Namespace == namespace && object.Name == name {
			return object, true
		}
	}
	return nil, false
}

// netns is the network namespace of a pod that is known; empty is the machine's.
func (p *pods) netns(uid string) (path string, known bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	pod, known := p.running[types.UID(uid)]
	if known && pod.isolated != nil && pod.isolated.sandbox != nil {
		return pod.isolated.sandbox.netns, true
	}
	return "", known
}

func (p *pods) container(id string) *container {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, pod := range p.running {
		for _, container := range p.containersOf(pod) {
			if container.id == id {
				return container
			}
		}
	}
	return nil
}
