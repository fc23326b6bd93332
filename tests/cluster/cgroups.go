package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// cgroups are the kubelet's below a root of this control plane's own in the machine's cgroup2. An empty root
// means that the machine has none mounted.
type cgroups struct{ root string }

// cgroupDriver is how the kubelet and the runtime name their cgroups.
type cgroupDriver string

const (
	cgroupfs cgroupDriver = "cgroupfs"
	systemd  cgroupDriver = "systemd"
)

const cgroupPrefix = "sallyport-test-"

// cgroup2Mount is empty where there is none.
func cgroup2Mount() string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	return ""
}

// cgroupRoot has the process's id in its name, so that no two control planes meet.
func cgroupRoot(pid int) string {
	mount := cgroup2Mount()
	if mount == "" {
		return ""
	}
	return filepath.Join(mount, fmt.Sprint(cgroupPrefix, pid))
}

// removeStaleCgroups is for control planes that were killed before they could: they have ended, and with them
// every process of their pods.
func removeStaleCgroups() {
	mount := cgroup2Mount()
	if mount == "" {
		return
	}
	roots, _ := filepath.Glob(filepath.Join(mount, cgroupPrefix+"*"))
	for _, root := range roots {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(root), cgroupPrefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			if err := removeCgroup(root); err != nil {
				fmt.Fprintln(os.Stderr, "error: cgroups of an earlier control plane are left:", err)
			}
		}
	}
}

// makePod makes the pod's cgroup, and those of all QoS classes above and beside it.
func (c cgroups) makePod(pod *corev1.Pod, driver cgroupDriver) (string, error) {
	if c.root == "" {
		return "", errors.New("a pod with a cgroup of its own needs cgroup2: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	}
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		if err := os.MkdirAll(filepath.Join(c.root, driver.class(class)), 0o755); err != nil {
			return "", err
		}
	}
	path := filepath.Join(c.root, driver.pod(pod))
	return path, os.MkdirAll(path, 0o755)
}

// class is where the kubelet has pods of a QoS class; guaranteed ones are directly in its root.
func (d cgroupDriver) class(class corev1.PodQOSClass) string {
	name := strings.ToLower(string(class))
	switch {
	case d == systemd && class == corev1.PodQOSGuaranteed:
		return "kubepods.slice"
	case d == systemd:
		return "kubepods.slice/kubepods-" + name + ".slice"
	case class == corev1.PodQOSGuaranteed:
		return "kubepods"
	default:
		return "kubepods/" + name
	}
}

func (d cgroupDriver) pod(pod *corev1.Pod) string {
	class := d.class(qos.GetPodQOS(pod))
	if d == cgroupfs {
		return filepath.Join(class, "pod"+string(pod.UID))
	}
	above := strings.TrimSuffix(filepath.Base(class), ".slice")
	uid := strings.ReplaceAll(string(pod.UID), "-", "_")
	return filepath.Join(class, above+"-pod"+uid+".slice")
}

// container is the name below the pod's, as containerd has it.
func (d cgroupDriver) container(id string) string {
	if d == cgroupfs {
		return id
	}
	return "cri-containerd-" + id + ".scope"
}

// removeCgroup kills everything in it and below, and removes it.
func removeCgroup(path string) error {
	if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := removeTree(path)
		// The killed are in it until they have ended.
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func removeTree(path string) error {
	var directories []string
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			directories = append(directories, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, directory := range slices.Backward(directories) {
		if err := os.Remove(directory); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
