package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// attach follows the container's process until it ends or the client leaves.
func (c *container) attach(in io.Reader, out, err io.Writer, resize <-chan remotecommand.TerminalSize) {
	left := make(chan struct{})
	leave := sync.OnceFunc(func() { close(left) })
	defer c.stdout.join(out, leave)()
	defer c.stderr.join(err, leave)()
	if c.terminal != nil {
		go resizeTerminal(c.terminal, resize)
	}
	if in != nil && c.stdin != nil {
		go func() {
			io.Copy(c.stdin, in)
			// The process is told that its input has ended only where the pod says so.
			if c.spec.StdinOnce && !c.spec.TTY {
				c.stdin.Close()
			} else {
				leave()
			}
		}()
	}
	select {
	case <-c.exited:
	case <-left:
	}
}

// fanout writes to the log and to everyone attached. As in container runtimes, the slowest sets the pace.
type fanout struct {
	mutex    sync.Mutex
	log      io.Writer
	attached map[io.Writer]func()
}

func newFanout(log io.Writer) *fanout {
	return &fanout{log: log, attached: map[io.Writer]func(){}}
}

// join adds a writer, which may be nil; gone is called when it takes no more.
func (f *fanout) join(writer io.Writer, gone func()) (leave func()) {
	if writer == nil {
		return func() {}
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.attached[writer] = gone
	return func() {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		delete(f.attached, writer)
	}
}

func (f *fanout) Write(bytes []byte) (int, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for writer, gone := range f.attached {
		if _, err := writer.Write(bytes); err != nil {
			delete(f.attached, writer)
			gone()
		}
	}
	return f.log.Write(bytes)
}

// containerLog is a file in the CRI log format, which the kubelet's own reader follows.
type containerLog struct {
	*os.File
	mutex   sync.Mutex
	streams []*logStream
}

func createLog(path string) (*containerLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	return &containerLog{File: file}, err
}

func (l *containerLog) stream(name string) *logStream {
	stream := &logStream{log: l, name: name}
	l.streams = append(l.streams, stream)
	return stream
}

func (l *containerLog) close() {
	for _, stream := range l.streams {
		if len(stream.rest) > 0 {
			stream.entry(stream.rest, "P")
		}
	}
	l.Close()
}

type logStream struct {
	log  *containerLog
	name string
	rest []byte
}

// Where runtimes split long lines.
const longestEntry = 16 * 1024

func (s *logStream) Write(written []byte) (int, error) {
	s.log.mutex.Lock()
	defer s.log.mutex.Unlock()
	s.rest = append(s.rest, written...)
	for {
		end := bytes.IndexByte(s.rest, '\n')
		var err error
		switch {
		case end >= 0 && end <= longestEntry:
			err = s.entry(s.rest[:end], "F")
			s.rest = s.rest[end+1:]
		case len(s.rest) > longestEntry:
			err = s.entry(s.rest[:longestEntry], "P")
			s.rest = s.rest[longestEntry:]
		default:
			return len(written), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func (s *logStream) entry(line []byte, tag string) error {
	_, err := fmt.Fprintf(s.log, "%s %s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), s.name, tag, line)
	return err
}
