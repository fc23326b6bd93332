package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/util/parsers"
)

const (
	// A pod with the first set to "true" is isolated: it gets a sandbox.
	networkAnnotation      = "test.sallyport.dev/network"
	cgroupDriverAnnotation = "test.sallyport.dev/cgroup-driver"
)

func wantsSandbox(pod *corev1.Pod) bool { return pod.Annotations[networkAnnotation] == "true" }

// sandbox is what the containers of one pod share: a network namespace and a cgroup. A process that does
// nothing keeps the namespace; nothing is pinned in a file system.
type sandbox struct {
	node    *nodeNetwork
	driver  cgroupDriver
	cgroup  string
	netns   string
	pause   *exec.Cmd
	network *podNetwork
	ips     []string
}

// sandboxes makes them.
type sandboxes struct {
	node    *nodeNetwork
	cgroups cgroups
}

// make leaves nothing behind where it fails.
func (s sandboxes) make(ctx context.Context, pod *corev1.Pod) (*sandbox, error) {
	if err := s.node.ensure(ctx); err != nil {
		return nil, err
	}
	driver := cgroupfs
	if pod.Annotations[cgroupDriverAnnotation] == string(systemd) {
		driver = systemd
	}
	// The kubelet makes the cgroup before it calls the runtime.
	path, err := s.cgroups.makePod(pod, driver)
	if err != nil {
		return nil, err
	}
	made := &sandbox{node: s.node, driver: driver, cgroup: path}
	if err := made.start(pod); err != nil {
		made.remove()
		return nil, err
	}
	return made, nil
}

func (s *sandbox) start(pod *corev1.Pod) error {
	cgroup, err := s.makeCgroup(runtimeID(pod, "", 0))
	if err != nil {
		return err
	}
	defer cgroup.Close()
	attributes := &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if pod.Spec.HostNetwork {
		s.netns, s.ips = s.node.netns(), nodeIPs()
		s.pause, err = hold(attributes, "nsenter", "--net="+s.netns, "--")
		return err
	}
	attributes.Cloneflags = syscall.CLONE_NEWNET
	if s.pause, err = hold(attributes); err != nil {
		return err
	}
	s.netns = netnsPath(s.pause.Process.Pid)
	if s.network, err = s.node.join(string(pod.UID), s.pause.Process.Pid); err != nil {
		return fmt.Errorf("connecting the pod's network: %w", err)
	}
	s.ips = s.network.ips
	return nil
}

// makeCgroup makes one below the pod's, for a process to be started in.
func (s *sandbox) makeCgroup(id string) (*os.File, error) {
	path := s.containerCgroup(id)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (s *sandbox) containerCgroup(id string) string {
	return filepath.Join(s.cgroup, s.driver.container(id))
}

// remove ends whatever still runs in the pod.
func (s *sandbox) remove() error {
	var left error
	if s.network != nil {
		left = s.node.leave(s.network)
	}
	if s.pause != nil && s.pause.Process != nil {
		end(s.pause)
	}
	if err := removeCgroup(s.cgroup); err != nil {
		left = fmt.Errorf("removing the pod's cgroup: %w", err)
	}
	return left
}

// runtimeID is of the form that containerd gives: 64 hexadecimal digits, new ones for each attempt.
func runtimeID(pod *corev1.Pod, container string, attempt int) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", pod.UID, container, attempt)))
}

// imageID stands for what the image's name was resolved to.
func imageID(image string) string {
	repository, _, digest, err := parsers.ParseImageName(image)
	if err != nil || digest == "" {
		digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(image)))
	}
	return repository + "@" + digest
}
