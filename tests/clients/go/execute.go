package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// execute runs a command in a pod with the standard streams of this process.
func execute(ctx context.Context, c *client, args []string) error {
	flags := flag.NewFlagSet("exec", flag.ExitOnError)
	protocol := flags.String("protocol", "auto", "websocket, spdy, or auto: SPDY where WebSocket is refused, as kubectl does")
	container := flags.String("container", "", "")
	stdin := flags.Bool("stdin", false, "hand on the standard input")
	size := flags.String("tty", "", "a terminal of this size, such as 80x24")
	flags.Parse(args)
	if flags.NArg() < 2 {
		return errors.New("exec needs a pod and a command")
	}
	streams, err := streams(*stdin, *size)
	if err != nil {
		return err
	}
	command := flags.Args()[1:]
	if command[0] == "--" {
		command = command[1:]
	}
	request := c.CoreV1().RESTClient().Post().
		Namespace(c.namespace).Resource("pods").Name(flags.Arg(0)).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: *container, Command: command, Stdin: *stdin,
			Stdout: true, Stderr: !streams.Tty, TTY: streams.Tty,
		}, scheme.ParameterCodec)
	executor, err := executor(c.config, request.URL(), *protocol)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, streams)
}

func streams(stdin bool, size string) (remotecommand.StreamOptions, error) {
	options := remotecommand.StreamOptions{Stdout: os.Stdout, Stderr: os.Stderr}
	if stdin {
		options.Stdin = os.Stdin
	}
	if size == "" {
		return options, nil
	}
	var terminal remotecommand.TerminalSize
	if _, err := fmt.Sscanf(size, "%dx%d", &terminal.Width, &terminal.Height); err != nil {
		return options, fmt.Errorf("the size of the terminal: %w", err)
	}
	options.Tty, options.Stderr = true, nil
	options.TerminalSizeQueue = &oneSize{size: &terminal}
	return options, nil
}

func executor(config *rest.Config, url *url.URL, protocol string) (remotecommand.Executor, error) {
	webSocket, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if err != nil {
		return nil, err
	}
	switch protocol {
	case "websocket":
		return webSocket, nil
	case "spdy":
		return spdy, nil
	case "auto":
		return remotecommand.NewFallbackExecutor(webSocket, spdy, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		})
	}
	return nil, fmt.Errorf("unknown protocol %q", protocol)
}

// oneSize is a terminal that is never resized.
type oneSize struct{ size *remotecommand.TerminalSize }

func (o *oneSize) Next() *remotecommand.TerminalSize {
	size := o.size
	o.size = nil
	return size
}
