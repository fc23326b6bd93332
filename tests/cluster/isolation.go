package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// isolation is how the processes of one container are started in its sandbox: born in the container's cgroup,
// in the pod's network namespace, and in a mount namespace of the container.
type isolation struct {
	sandbox *sandbox
	id      string
	cgroup  *os.File
	mounts  []mount
	// Where overlays keep what is written to them.
	scratch string
	// The container's first process, once its mounts are made.
	pid int
}

func newIsolation(sandbox *sandbox, id, scratch string, mounts []mount) (*isolation, error) {
	cgroup, err := sandbox.makeCgroup(id)
	if err != nil {
		return nil, err
	}
	return &isolation{sandbox: sandbox, id: id, cgroup: cgroup, mounts: mounts, scratch: scratch}, nil
}

// begin makes cmd the container's first process. It makes the mounts before it becomes the container's own
// program; the returned function waits for that.
func (i *isolation) begin(cmd *exec.Cmd) (wait func() error, err error) {
	script, err := mountScript(i.mounts, i.scratch)
	if err != nil {
		return nil, err
	}
	ready, said, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	i.prepend(cmd, "nsenter", "--net="+i.sandbox.netns, "--", "sh", "-euc", script+"echo >&3\nexec 3>&-\nexec \"$@\"", "sh")
	cmd.ExtraFiles = []*os.File{said}
	i.place(cmd)
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNS
	return func() error {
		defer ready.Close()
		said.Close()
		if cmd.Process == nil {
			return nil
		}
		if read, _ := ready.Read(make([]byte, 1)); read == 0 {
			return errors.New("its mounts could not be made")
		}
		i.pid = cmd.Process.Pid
		return nil
	}, nil
}

// beside makes cmd a further process of the container.
func (i *isolation) beside(cmd *exec.Cmd) {
	mounts := fmt.Sprintf("--mount=/proc/%d/ns/mnt", i.pid)
	// Whoever enters a mount namespace is in its root at first.
	i.prepend(cmd, "nsenter", "--net="+i.sandbox.netns, mounts, "--", "sh", "-euc", `cd "$0" && exec "$@"`, cmd.Dir)
	i.place(cmd)
}

func (i *isolation) prepend(cmd *exec.Cmd, words ...string) {
	wrapped := exec.Command(words[0], append(words[1:], cmd.Args...)...)
	cmd.Path, cmd.Args, cmd.Err = wrapped.Path, wrapped.Args, wrapped.Err
}

func (i *isolation) place(cmd *exec.Cmd) {
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = int(i.cgroup.Fd())
}

// end ends what the container left running.
func (i *isolation) end() error {
	i.cgroup.Close()
	return removeCgroup(i.sandbox.containerCgroup(i.id))
}

// mount is one of a container: source is a file or a directory of the machine.
type mount struct {
	source, target string
	readOnly       bool
}

// mountScript makes mounts in a new mount namespace. Where a target is not there it is made in a file system
// of the namespace, so that the machine's own stay as they are.
func mountScript(mounts []mount, scratch string) (string, error) {
	var script strings.Builder
	say := func(format string, arguments ...any) { fmt.Fprintf(&script, format+"\n", arguments...) }
	say("mount --make-rprivate /")
	// As in images: nothing of the machine is there.
	say("mount -t tmpfs tmpfs %s", quote(scratch))
	staged := stage(mounts, scratch, say)
	say("mount -t tmpfs tmpfs /run")
	overlaid := map[string]bool{}
	for index, mount := range mounts {
		target, exists := resolve(mount.target)
		if !exists && !isBelow(target, "/run") {
			top := topDirectory(target)
			if info, err := os.Stat(top); err != nil || !info.IsDir() {
				return "", fmt.Errorf("mountPath %s: there is no %s on this node", mount.target, top)
			}
			if !overlaid[top] {
				overlaid[top] = true
				overlay(top, filepath.Join(scratch, fmt.Sprint("overlay", index)), say)
			}
		}
		makeTarget(staged[index], target, say)
		say("mount --rbind %s %s", quote(staged[index]), quote(target))
		if mount.readOnly {
			say("mount -o remount,bind,ro %s", quote(target))
		}
	}
	return script.String(), nil
}

// stage keeps sources in reach that the tmpfs on /run would hide.
func stage(mounts []mount, scratch string, say func(string, ...any)) []string {
	var sources []string
	for index, mount := range mounts {
		source, _ := resolve(mount.source)
		if isBelow(source, "/run") {
			staged := filepath.Join(scratch, fmt.Sprint("staged", index))
			makeTarget(source, staged, say)
			say("mount --rbind %s %s", quote(source), quote(staged))
			source = staged
		}
		sources = append(sources, source)
	}
	return sources
}

func makeTarget(source, target string, say func(string, ...any)) {
	say("if [ -d %s ]; then mkdir -p %s; else mkdir -p %s; [ -e %[2]s ] || touch %[2]s; fi",
		quote(source), quote(target), quote(filepath.Dir(target)))
}

func overlay(directory, scratch string, say func(string, ...any)) {
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	say("mkdir -p %s %s", quote(upper), quote(work))
	say("mount -t overlay overlay -o %s %s",
		quote("lowerdir="+directory+",upperdir="+upper+",workdir="+work), quote(directory))
}

// resolve follows the symbolic links of what there is of path.
func resolve(path string) (resolved string, exists bool) {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, true
	}
	above, _ := resolve(filepath.Dir(path))
	return filepath.Join(above, filepath.Base(path)), false
}

func isBelow(path, directory string) bool { return strings.HasPrefix(path+"/", directory+"/") }

func topDirectory(path string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return "/" + top
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
