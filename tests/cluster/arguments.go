package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
)

func (p *controlPlane) etcdArgs() []string {
	return []string{
		"--data-dir=" + p.path("etcd"),
		"--client-url=" + p.etcdURL,
		"--peer-url=" + p.peerURL,
		"--ca-file=" + p.etcdCA.keyPair.cert,
		"--cert-file=" + p.etcd.cert,
		"--key-file=" + p.etcd.key,
	}
}

func (p *controlPlane) apiserverArgs() []string {
	return []string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", p.port),
		// Endpoints may not be loopback addresses.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + serviceCIDRs,
		"--etcd-servers=" + p.etcdURL,
		"--etcd-cafile=" + p.etcdCA.keyPair.cert,
		"--etcd-certfile=" + p.etcd.cert,
		"--etcd-keyfile=" + p.etcd.key,
		"--tls-cert-file=" + p.server.cert,
		"--tls-private-key-file=" + p.server.key,
		"--client-ca-file=" + p.ca.keyPair.cert,
		"--authorization-mode=Node,RBAC",
		// As in every cluster: what refuses privileged pods is admission.
		"--allow-privileged=true",
		// The admin certificate, which the gateway uses, may also speak as a front proxy: an X-Remote-*
		// header that the gateway lets through takes effect here instead of being ignored.
		"--requestheader-client-ca-file=" + p.ca.keyPair.cert,
		"--requestheader-allowed-names=admin",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--kubelet-client-certificate=" + p.kubeletClient.cert,
		"--kubelet-client-key=" + p.kubeletClient.key,
		"--kubelet-certificate-authority=" + p.ca.keyPair.cert,
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + p.tokenKey,
		"--service-account-signing-key-file=" + p.tokenSigningKey,
		"--audit-policy-file=" + p.auditPolicy,
		"--audit-log-path=" + p.path("audit.log"),
		// Tests read this file alone: at 100 MB the API server would begin another.
		"--audit-log-maxsize=0",
	}
}

func (p *controlPlane) controllerArgs() []string {
	kubeconfig := p.path("kube-controller-manager.kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--secure-port=0",
		"--leader-elect=false",
		"--root-ca-file=" + p.ca.keyPair.cert,
		"--service-account-private-key-file=" + p.tokenSigningKey,
		"--cluster-signing-cert-file=" + p.ca.keyPair.cert,
		"--cluster-signing-key-file=" + p.ca.keyPair.key,
		"--controllers=" + strings.Join(controllers, ","),
	}
}

func (p *controlPlane) nodeArgs() []string {
	return []string{
		"--name=" + nodeName,
		"--dir=" + p.path("node"),
		fmt.Sprintf("--port=%d", p.kubeletPort),
		"--kubeconfig=" + p.path("node.kubeconfig"),
		"--cert-file=" + p.kubelet.cert,
		"--key-file=" + p.kubelet.key,
		"--client-ca-file=" + p.ca.keyPair.cert,
		"--admin-kubeconfig=" + p.path("admin.kubeconfig"),
		"--cgroups=" + cgroupRoot(os.Getpid()),
		"--netns=" + p.path(netnsLink),
		fmt.Sprintf("--api-port=%d", p.port),
	}
}

var controllers = []string{
	"namespace-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"root-ca-certificate-publisher-controller",
	"garbage-collector-controller",
	"certificatesigningrequest-approving-controller",
	"certificatesigningrequest-cleaner-controller",
	"certificatesigningrequest-signing-controller",
	"deployment-controller",
	"replicaset-controller",
	// Checks the types in the expressions of admission policies.
	"validatingadmissionpolicy-status-controller",
	// Fills the ClusterRoles admin, edit and view.
	"clusterrole-aggregation-controller",
}

func (p *controlPlane) writeKubeconfig(name string, user keyPair) error {
	type object = map[string]any
	config := object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "test",
		"clusters": []object{{"name": "test", "cluster": object{
			"server":                p.endpoint,
			"certificate-authority": p.ca.keyPair.cert,
		}}},
		"users": []object{{"name": "test", "user": object{
			"client-certificate": user.cert,
			"client-key":         user.key,
		}}},
		"contexts": []object{{"name": "test", "context": object{"cluster": "test", "user": "test"}}},
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(p.path(name), text, 0o600)
}

// freePorts picks below the range from which the kernel gives ports to others, so that nobody is
// given one of these before its component binds it.
func freePorts(count int) ([]int, error) {
	const first, last = 20000, 32000
	var listeners []net.Listener
	defer func() {
		for _, listener := range listeners {
			listener.Close()
		}
	}()
	var ports []int
	for tries := 0; len(ports) < count; tries++ {
		port := first + rand.IntN(last-first)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			listeners, ports = append(listeners, listener), append(ports, port)
		} else if tries > 100 {
			return nil, fmt.Errorf("finding a free port from %d to %d: %w", first, last, err)
		}
	}
	return ports, nil
}
