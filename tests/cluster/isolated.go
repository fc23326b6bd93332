package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const tryAgainAfter = 500 * time.Millisecond

// isolated is what a pod with a sandbox has besides its containers. All but the channels is guarded by pods.mutex.
type isolated struct {
	// Ends the start; begun is closed when it has ended.
	cancel context.CancelFunc
	begun  chan struct{}

	sandbox *sandbox
	volumes volumes
	// By name: the latest run of each, and how many there were before it.
	init     map[string]*container
	restarts map[string]int32
	// True once every init container has done its work, or one has failed for good.
	initialized, failed bool
	// What the pod waits for, in a container status's words.
	waiting corev1.ContainerStateWaiting
}

// startIsolated is called with the mutex held.
func (p *pods) startIsolated(ctx context.Context, object *corev1.Pod) {
	starting, cancel := context.WithCancel(ctx)
	pod := &localPod{object: object, started: time.Now(), failed: map[string]error{}, isolated: &isolated{
		cancel: cancel, begun: make(chan struct{}),
		init: map[string]*container{}, restarts: map[string]int32{},
	}}
	p.running[object.UID] = pod
	go func() {
		defer close(pod.isolated.begun)
		if p.bringUp(starting, pod) {
			go p.report(ctx, pod)
		}
	}()
}

// bringUp returns whether the containers were started; otherwise the pod is being deleted, or has failed.
func (p *pods) bringUp(ctx context.Context, pod *localPod) bool {
	if !p.insist(ctx, pod, "CreatePodSandboxError", func() error { return p.makeSandbox(ctx, pod) }) {
		return false
	}
	if !p.insist(ctx, pod, "ContainerCreating", func() error { return pod.isolated.volumes.make(ctx) }) {
		return false
	}
	p.wait(pod, "PodInitializing", "")
	for _, spec := range pod.object.Spec.InitContainers {
		if !p.runInit(ctx, pod, spec) {
			return false
		}
	}
	for _, spec := range pod.object.Spec.Containers {
		container, err := p.startInSandbox(pod, spec, 0)
		p.mutex.Lock()
		if err != nil {
			pod.failed[spec.Name] = err
		} else {
			pod.containers = append(pod.containers, container)
		}
		pod.isolated.initialized = true
		p.mutex.Unlock()
	}
	return true
}

// insist repeats step until it succeeds or ctx ends; the pod's status says what it fails with.
func (p *pods) insist(ctx context.Context, pod *localPod, reason string, step func() error) bool {
	for {
		err := step()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if p.wait(pod, reason, err.Error()) {
			p.writeStatus(ctx, pod)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(tryAgainAfter):
		}
	}
}

// wait returns whether this is new.
func (p *pods) wait(pod *localPod, reason, message string) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	waiting := corev1.ContainerStateWaiting{Reason: reason, Message: message}
	changed := pod.isolated.waiting != waiting
	pod.isolated.waiting = waiting
	return changed
}

func (p *pods) makeSandbox(ctx context.Context, pod *localPod) error {
	sandbox, err := p.sandboxes.make(ctx, pod.object)
	if err != nil {
		return err
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	pod.isolated.sandbox = sandbox
	pod.isolated.volumes = volumes{
		client: p.client, pod: pod.object, ips: sandbox.ips,
		// No container's name has a dot.
		dir: filepath.Join(p.dir, string(pod.object.UID), ".volumes"),
	}
	return nil
}

// runInit runs one init container until it succeeds; one that is to go on is only started.
func (p *pods) runInit(ctx context.Context, pod *localPod, spec corev1.Container) bool {
	goesOn := ptr.Deref(spec.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
	for attempt := 0; ; attempt++ {
		container, err := p.startInSandbox(pod, spec, attempt)
		p.mutex.Lock()
		if err != nil {
			pod.failed[spec.Name] = err
		} else {
			delete(pod.failed, spec.Name)
			pod.isolated.init[spec.Name], pod.isolated.restarts[spec.Name] = container, int32(attempt)
		}
		p.mutex.Unlock()
		p.writeStatus(ctx, pod)
		if err == nil {
			if goesOn {
				return true
			}
			select {
			case <-container.exited:
			case <-ctx.Done():
				return false
			}
			if container.exitCode == 0 {
				return true
			}
		}
		if pod.object.Spec.RestartPolicy == corev1.RestartPolicyNever {
			p.mutex.Lock()
			pod.isolated.failed = true
			p.mutex.Unlock()
			p.writeStatus(ctx, pod)
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(tryAgainAfter):
		}
	}
}

func (p *pods) startInSandbox(pod *localPod, spec corev1.Container, attempt int) (*container, error) {
	directory := filepath.Join(p.dir, string(pod.object.UID))
	mounts, err := pod.isolated.volumes.mounts(spec)
	if err != nil {
		return nil, err
	}
	scratch := filepath.Join(directory, ".scratch", spec.Name)
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	own := filepath.Join(directory, spec.Name)
	env, err := p.isolatedEnvironment(pod, spec, own)
	if err != nil {
		return nil, err
	}
	isolation, err := newIsolation(pod.isolated.sandbox, runtimeID(pod.object, spec.Name, attempt), scratch, mounts)
	if err != nil {
		return nil, err
	}
	container, err := startContainer(pod.object, spec, own, env, isolation)
	if err != nil {
		isolation.end()
	}
	return container, err
}

// isolatedEnvironment is what the kubelet sets, before what the pod says. Programs that the pod's images would
// hold are in the directories of SALLYPORT_POD_PATH.
func (p *pods) isolatedEnvironment(pod *localPod, spec corev1.Container, dir string) ([]string, error) {
	path := os.Getenv("PATH")
	if own := os.Getenv("SALLYPORT_POD_PATH"); own != "" {
		path = own + ":" + path
	}
	env := []string{"PATH=" + path, "HOME=" + dir, "HOSTNAME=" + pod.object.Name}
	services, err := p.sandboxes.node.serviceVariables(pod.object.Namespace)
	if err != nil {
		return nil, err
	}
	for _, variable := range services {
		env = append(env, variable.Name+"="+variable.Value)
	}
	for _, variable := range spec.Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			if from.FieldRef == nil {
				return nil, fmt.Errorf("variable %s: only fieldRef is supported by this node", variable.Name)
			}
			if value, err = field(pod.object, pod.isolated.volumes.ips, from.FieldRef.FieldPath); err != nil {
				return nil, fmt.Errorf("variable %s: %w", variable.Name, err)
			}
		}
		env = append(env, variable.Name+"="+value)
	}
	return env, nil
}

// containersOf are all that were started, those that run before the others included.
func (p *pods) containersOf(pod *localPod) []*container {
	containers := append([]*container{}, pod.containers...)
	if pod.isolated != nil {
		for _, container := range pod.isolated.init {
			containers = append(containers, container)
		}
	}
	return containers
}

// abandon waits until nothing more is started.
func (i *isolated) abandon() {
	i.cancel()
	<-i.begun
}

func (i *isolated) remove(pod *corev1.Pod) {
	if i.sandbox == nil {
		return
	}
	if err := i.sandbox.remove(); err != nil {
		klog.ErrorS(err, "Removing a pod's sandbox", "pod", klog.KObj(pod))
	}
}
