package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
	"k8s.io/kubernetes/pkg/features"
)

// node runs the containers of pods that name it as processes of this machine: commands, environment, logs and
// streams are real; images, probes and restarts are not there. A pod with the annotation
// test.sallyport.dev/network: "true" also has a network and a cgroup of its own, init containers and volumes; one
// without it has none of them. test.sallyport.dev/cgroup-driver: systemd names its cgroups as systemd does.
func node(args []string) error {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	name := flags.String("name", "", "")
	dir := flags.String("dir", "", "")
	port := flags.Int("port", 0, "")
	kubeconfig := flags.String("kubeconfig", "", "")
	certFile := flags.String("cert-file", "", "")
	keyFile := flags.String("key-file", "", "")
	clientCAFile := flags.String("client-ca-file", "", "")
	adminKubeconfig := flags.String("admin-kubeconfig", "", "")
	cgroupRoot := flags.String("cgroups", "", "")
	netns := flags.String("netns", "", "")
	apiPort := flags.Int("api-port", 0, "")
	flags.Parse(args)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	certificate, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	if err != nil {
		return err
	}
	client, err := nodeClient(*kubeconfig)
	if err != nil {
		return err
	}
	admin, err := nodeClient(*adminKubeconfig)
	if err != nil {
		return err
	}
	network := newNodeNetwork(networkOptions{
		node: *name, netns: *netns, apiPort: *apiPort, kubeletPort: *port, client: admin,
	})
	pods := newPods(client, filepath.Join(*dir, "pods"), sandboxes{node: network, cgroups: cgroups{root: *cgroupRoot}})
	defer pods.end()
	kubelet, err := newKubelet(ctx, *name, pods, *clientCAFile)
	if err != nil {
		return err
	}
	if err := serve(kubelet, *port, certificate); err != nil {
		return err
	}
	if err := register(ctx, client, *name, int32(*port)); err != nil {
		return fmt.Errorf("registering the node: %w", err)
	}
	return pods.run(ctx, *name)
}

func nodeClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// Tests make many pods at once; the default limit would hold up their statuses for seconds.
	config.QPS = -1
	return kubernetes.NewForConfig(config)
}

func serve(handler http.Handler, port int, certificate tls.Certificate) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler,
		// As the kubelet: who did not present a certificate is told 401.
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate},
			ClientAuth:   tls.RequestClientCert,
		},
	}
	go func() {
		fmt.Fprintln(os.Stderr, "error: the kubelet endpoint ended:", server.ServeTLS(listener, "", ""))
		os.Exit(1)
	}()
	return nil
}

func register(ctx context.Context, client kubernetes.Interface, name string, port int32) error {
	nodes := client.CoreV1().Nodes()
	created, err := nodes.Create(ctx, nodeObject(name, port), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	// Admission taints every new node until a controller, which does not run here, sees it ready.
	created.Spec.Taints = nil
	_, err = nodes.Update(ctx, created, metav1.UpdateOptions{})
	return err
}

func nodeObject(name string, port int32) *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("2"),
		corev1.ResourceMemory: resource.MustParse("4Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue,
		Reason: "KubeletReady", Message: "kubelet is posting ready status",
		LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   runtime.GOOS,
			corev1.LabelArchStable: runtime.GOARCH,
		}},
		Status: corev1.NodeStatus{
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
			Conditions:      []corev1.NodeCondition{ready},
			Capacity:        resources,
			Allocatable:     resources,
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion:  version.Get().GitVersion,
				OperatingSystem: runtime.GOOS,
				Architecture:    runtime.GOARCH,
			},
		},
	}
	// What a kubelet of this release declares: the API server hands WebSockets on to it untranslated.
	if utilfeature.DefaultFeatureGate.Enabled(features.ExtendWebSocketsToKubelet) {
		node.Status.DeclaredFeatures = []string{string(features.ExtendWebSocketsToKubelet)}
	}
	return node
}
