package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/server"
)

// kubelet is what the kubelet's own HTTP server asks about pods, and the CRI streaming server it is
// sent to, as container runtimes embed it.
type kubelet struct {
	// What no served path calls, see servedPaths.
	server.HostInterface
	pods      *pods
	streaming streaming.Server
}

var servedPaths = []string{"exec", "attach", "portForward", "containerLogs", "pods", "runningpods", "healthz"}

func newKubelet(ctx context.Context, node string, pods *pods, clientCAFile string) (http.Handler, error) {
	streamingServer, err := serveStreams(pods)
	if err != nil {
		return nil, err
	}
	auth, err := kubeletAuth(node, clientCAFile)
	if err != nil {
		return nil, err
	}
	host := &kubelet{pods: pods, streaming: streamingServer}
	config := &kubeletconfig.KubeletConfiguration{EnableDebuggingHandlers: true}
	endpoint := server.NewServer(ctx, host, nil, nil, nil, auth, config)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		root, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if !slices.Contains(servedPaths, root) {
			http.NotFound(w, r)
			return
		}
		endpoint.ServeHTTP(w, r)
	}), nil
}

func serveStreams(pods *pods) (streaming.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	streams, err := streaming.NewServer(config, localRuntime{pods})
	if err != nil {
		return nil, err
	}
	go http.Serve(listener, streams)
	return streams, nil
}

// kubeletAuth lets in the API server by its client certificate, and nobody else.
func kubeletAuth(node, clientCAFile string) (server.AuthInterface, error) {
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", clientCAFile)
	if err != nil {
		return nil, err
	}
	return server.NewKubeletAuth(
		x509request.NewDynamic(ca.VerifyOptions, x509request.CommonNameUserConversion),
		server.NewNodeAuthorizerAttributesGetter(types.NodeName(node)),
		authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup),
		ca,
	), nil
}

func (k *kubelet) SyncLoopHealthCheck(*http.Request) error { return nil }

func (k *kubelet) GetPodByName(namespace, name string) (*corev1.Pod, bool) {
	return k.pods.byName(namespace, name)
}

func (k *kubelet) GetPods() []*corev1.Pod { return k.pods.list() }

func (k *kubelet) GetRunningPods(context.Context) ([]*corev1.Pod, error) { return k.pods.list(), nil }

func (k *kubelet) GetExec(_ context.Context, podFullName string, uid types.UID, name string, command []string, options remotecommand.Options) (*url.URL, error) {
	container, err := k.container(podFullName, uid, name)
	if err != nil {
		return nil, err
	}
	answer, err := k.streaming.GetExec(&cri.ExecRequest{
		ContainerId: container.id, Cmd: command, Tty: options.TTY,
		Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (k *kubelet) GetAttach(_ context.Context, podFullName string, uid types.UID, name string, options remotecommand.Options) (*url.URL, error) {
	container, err := k.container(podFullName, uid, name)
	if err != nil {
		return nil, err
	}
	// Not what the client asks for: a running process has a terminal or has none.
	tty := container.spec.TTY
	answer, err := k.streaming.GetAttach(&cri.AttachRequest{
		ContainerId: container.id, Tty: tty,
		Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr && !tty,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (k *kubelet) GetPortForward(_ context.Context, _, _ string, uid types.UID, options portforward.V4Options) (*url.URL, error) {
	answer, err := k.streaming.GetPortForward(&cri.PortForwardRequest{PodSandboxId: string(uid), Port: options.Ports})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (k *kubelet) GetKubeletContainerLogs(ctx context.Context, podFullName, name string, options *corev1.PodLogOptions, stdout, stderr io.Writer) error {
	container, err := k.container(podFullName, "", name)
	if err != nil {
		return err
	}
	if options.Previous {
		return fmt.Errorf("previous terminated container %q in pod %q not found", name, podFullName)
	}
	// The headers go before the first line is there.
	if stdout != nil {
		if _, err := stdout.Write(nil); err != nil {
			return err
		}
	}
	return logs.ReadLogs(ctx, container.log.Name(), container.id, logOptions(options), containerStates{pods: k.pods}, stdout, stderr)
}

func logOptions(options *corev1.PodLogOptions) *logs.LogOptions {
	read := &logs.LogOptions{
		TailLines:  options.TailLines,
		LimitBytes: options.LimitBytes,
		Follow:     options.Follow,
		Timestamp:  options.Timestamps,
	}
	if options.SinceSeconds != nil {
		read.Since = time.Now().Add(-time.Duration(*options.SinceSeconds) * time.Second)
	}
	if options.SinceTime != nil && options.SinceTime.After(read.Since) {
		read.Since = options.SinceTime.Time
	}
	return read
}

func (k *kubelet) container(podFullName string, uid types.UID, name string) (*container, error) {
	podName, namespace, err := kubecontainer.ParsePodFullName(podFullName)
	if err != nil {
		return nil, err
	}
	pod, found := k.pods.byName(namespace, podName)
	if !found || (uid != "" && pod.UID != uid) {
		return nil, fmt.Errorf("pod %s not found", podFullName)
	}
	container := k.pods.container(containerID(pod.UID, name))
	if container == nil {
		return nil, fmt.Errorf("container not found (%q)", name)
	}
	return container, nil
}
