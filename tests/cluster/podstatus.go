package main

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (pod *localPod) status() corev1.PodStatus {
	host, ips := pod.addresses()
	started := metav1.NewTime(pod.started)
	ready, initialized := corev1.ConditionTrue, corev1.ConditionTrue
	var containers []corev1.ContainerStatus
	for _, spec := range pod.object.Spec.Containers {
		status := pod.containerStatus(spec)
		if !status.Ready {
			ready = corev1.ConditionFalse
		}
		containers = append(containers, status)
	}
	phase := phase(containers)
	if pod.isolated != nil {
		if !pod.isolated.initialized {
			initialized = corev1.ConditionFalse
		}
		if pod.isolated.failed {
			phase = corev1.PodFailed
		}
	}
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: metav1.Now()}
	}
	return corev1.PodStatus{
		Phase: phase,
		Conditions: []corev1.PodCondition{
			condition(corev1.PodScheduled, corev1.ConditionTrue),
			condition(corev1.PodInitialized, initialized),
			condition(corev1.ContainersReady, ready),
			condition(corev1.PodReady, ready),
		},
		HostIP: host[0], HostIPs: hostIPs(host),
		PodIP: first(ips), PodIPs: podIPs(ips),
		StartTime:             &started,
		InitContainerStatuses: pod.initStatuses(),
		ContainerStatuses:     containers,
	}
}

// addresses are the node's, and the pod's, which an isolated pod does not have from the start.
func (pod *localPod) addresses() (host, own []string) {
	switch {
	case pod.isolated == nil:
		return []string{"127.0.0.1"}, []string{"127.0.0.1"}
	case pod.isolated.sandbox == nil:
		return nodeIPs(), nil
	default:
		return nodeIPs(), pod.isolated.sandbox.ips
	}
}

func hostIPs(ips []string) (list []corev1.HostIP) {
	for _, ip := range ips {
		list = append(list, corev1.HostIP{IP: ip})
	}
	return list
}

func podIPs(ips []string) (list []corev1.PodIP) {
	for _, ip := range ips {
		list = append(list, corev1.PodIP{IP: ip})
	}
	return list
}

func first(ips []string) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0]
}

// phase is the kubelet's where nothing is ever restarted.
func phase(containers []corev1.ContainerStatus) corev1.PodPhase {
	phase := corev1.PodSucceeded
	for _, container := range containers {
		switch state := container.State; {
		case state.Waiting != nil:
			return corev1.PodPending
		case state.Running != nil:
			return corev1.PodRunning
		case state.Terminated.ExitCode != 0:
			phase = corev1.PodFailed
		}
	}
	return phase
}

func (pod *localPod) containerStatus(spec corev1.Container) corev1.ContainerStatus {
	status := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image}
	if err := pod.failed[spec.Name]; err != nil {
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: err.Error()}
		return status
	}
	if pod.isolated != nil {
		status.State.Waiting = pod.isolated.waiting.DeepCopy()
	}
	for _, container := range pod.containers {
		if container.spec.Name == spec.Name {
			container.describe(&status)
		}
	}
	running := status.State.Running != nil
	status.Ready, status.Started = running, &running
	return status
}

// initStatuses has no entry for what has not been reached yet.
func (pod *localPod) initStatuses() (statuses []corev1.ContainerStatus) {
	for _, spec := range pod.object.Spec.InitContainers {
		status := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image}
		if err := pod.failed[spec.Name]; err != nil {
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: err.Error()}
		} else if container := pod.isolated.init[spec.Name]; container != nil {
			container.describe(&status)
			status.RestartCount = pod.isolated.restarts[spec.Name]
			running := status.State.Running != nil
			status.Started = &running
			status.Ready = running || container.exitCode == 0
		} else {
			continue
		}
		statuses = append(statuses, status)
	}
	return statuses
}

func (c *container) describe(status *corev1.ContainerStatus) {
	status.ContainerID = "local://" + c.id
	if c.isolation != nil {
		status.ContainerID = "containerd://" + c.isolation.id
		status.ImageID = imageID(c.spec.Image)
	}
	status.State = c.state(status.ContainerID)
}

func (c *container) state(id string) corev1.ContainerState {
	started := metav1.NewTime(c.started)
	if !c.hasExited() {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
	}
	reason := "Completed"
	if c.exitCode != 0 {
		reason = "Error"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(c.exitCode), Reason: reason, ContainerID: id,
		StartedAt: started, FinishedAt: metav1.NewTime(c.ended),
	}}
}
