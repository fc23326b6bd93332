package main

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (pod *localPod) status() corev1.PodStatus {
	const address = "127.0.0.1"
	started := metav1.NewTime(pod.started)
	ready := corev1.ConditionTrue
	var containers []corev1.ContainerStatus
	for _, spec := range pod.object.Spec.Containers {
		status := pod.containerStatus(spec)
		if !status.Ready {
			ready = corev1.ConditionFalse
		}
		containers = append(containers, status)
	}
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: metav1.Now()}
	}
	return corev1.PodStatus{
		Phase: phase(containers),
		Conditions: []corev1.PodCondition{
			condition(corev1.PodScheduled, corev1.ConditionTrue),
			condition(corev1.PodInitialized, corev1.ConditionTrue),
			condition(corev1.ContainersReady, ready),
			condition(corev1.PodReady, ready),
		},
		HostIP: address, HostIPs: []corev1.HostIP{{IP: address}},
		PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
		StartTime:         &started,
		ContainerStatuses: containers,
	}
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
	for _, container := range pod.containers {
		if container.spec.Name == spec.Name {
			status.ContainerID = "local://" + container.id
			status.State = container.state(status.ContainerID)
		}
	}
	running := status.State.Running != nil
	status.Ready, status.Started = running, &running
	return status
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
