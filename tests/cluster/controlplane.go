package main

import (
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	issuer   = "https://kubernetes.default.svc.cluster.local"
	nodeName = "local"
	// In the control plane's directory.
	netnsLink = "node.netns"
	// Two busy cores need a tenth of this.
	startTimeout = 120 * time.Second
)

//go:embed audit-policy.yaml
var defaultAuditPolicy []byte

// controlPlane is everything a start decides before the first process runs.
type controlPlane struct {
	dir, auditPolicy string

	ca, etcdCA                 *authority
	etcd, server, admin        keyPair
	controllers, oidc          keyPair
	kubelet, kubeletClient     keyPair
	node                       keyPair
	tokenKey, tokenSigningKey  string
	etcdURL, peerURL, endpoint string
	port, kubeletPort          int

	running []*component
	died    chan *component
}

// addresses is the one line of JSON that says the cluster is ready.
type addresses struct {
	Kubeconfig           string `json:"kubeconfig"`
	Server               string `json:"server"`
	CAFile               string `json:"caFile"`
	AuditLog             string `json:"auditLog"`
	ServiceAccountIssuer string `json:"serviceAccountIssuer"`
	// Pods that name it run.
	Node string `json:"node"`
	// The rest is of pods with a network of their own, and is there from the first of them on: the directory
	// in the machine's cgroup2 below which `kubepods` is, absent where no cgroup2 is mounted; a symbolic link to
	// the namespace that stands for the host's network; its addresses, on which port 6443 is the API server; and
	// the ClusterIP of the Service `kubernetes`.
	Cgroups       string   `json:"cgroups,omitempty"`
	NodeNetns     string   `json:"nodeNetns"`
	NodeAddresses []string `json:"nodeAddresses"`
	ClusterIP     string   `json:"clusterIP"`
	Certs         struct {
		OIDCCert string `json:"oidcCert"`
		OIDCKey  string `json:"oidcKey"`
	} `json:"certs"`
}

func newControlPlane(dir, auditPolicy string) (*controlPlane, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &controlPlane{dir: dir, auditPolicy: auditPolicy, died: make(chan *component)}
	for _, step := range []func() error{p.clear, p.issue, p.choosePorts, p.writeFiles} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("preparing %s: %w", dir, err)
		}
	}
	return p, nil
}

func (p *controlPlane) path(name string) string { return filepath.Join(p.dir, name) }

func (p *controlPlane) clear() error {
	if err := os.MkdirAll(p.path("pki"), 0o700); err != nil {
		return err
	}
	logs, err := filepath.Glob(p.path("*.log"))
	if err != nil {
		return err
	}
	removeStaleCgroups()
	for _, path := range append(logs, p.path("etcd"), p.path("node")) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func (p *controlPlane) issue() (err error) {
	pki := p.path("pki")
	if p.ca, err = newAuthority(pki, "ca"); err != nil {
		return err
	}
	if p.etcdCA, err = newAuthority(pki, "etcd-ca"); err != nil {
		return err
	}
	if p.etcd, err = p.etcdCA.issueServer("etcd"); err != nil {
		return err
	}
	if p.server, err = p.ca.issueServer("kube-apiserver", append(nodeIPs(), serviceIPv4)...); err != nil {
		return err
	}
	if p.oidc, err = p.ca.issueServer("oidc"); err != nil {
		return err
	}
	if p.admin, err = p.ca.issueClient("admin", "system:masters"); err != nil {
		return err
	}
	if p.controllers, err = p.ca.issueClient("system:kube-controller-manager", "system:masters"); err != nil {
		return err
	}
	if err = p.issueForNode(); err != nil {
		return err
	}
	p.tokenKey, p.tokenSigningKey, err = newSigningKey(pki)
	return err
}

func (p *controlPlane) issueForNode() (err error) {
	if p.kubelet, err = p.ca.issueServer("kubelet", nodeIPs()...); err != nil {
		return err
	}
	if p.kubeletClient, err = p.ca.issueClient("kube-apiserver-kubelet-client", "system:masters"); err != nil {
		return err
	}
	p.node, err = p.ca.issueClient("system:node:"+nodeName, "system:nodes")
	return err
}

func (p *controlPlane) choosePorts() error {
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	p.etcdURL = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	p.peerURL = fmt.Sprintf("https://127.0.0.1:%d", ports[1])
	p.port, p.kubeletPort = ports[2], ports[3]
	p.endpoint = fmt.Sprintf("https://127.0.0.1:%d", p.port)
	return nil
}

func (p *controlPlane) writeFiles() error {
	if err := p.writeKubeconfig("admin.kubeconfig", p.admin); err != nil {
		return err
	}
	if err := p.writeKubeconfig("kube-controller-manager.kubeconfig", p.controllers); err != nil {
		return err
	}
	if err := p.writeKubeconfig("node.kubeconfig", p.node); err != nil {
		return err
	}
	if p.auditPolicy != "" {
		return nil
	}
	p.auditPolicy = p.path("audit-policy.yaml")
	return os.WriteFile(p.auditPolicy, defaultAuditPolicy, 0o600)
}

// run serves until SIGTERM, the end of stdin, or the end of a component, which is an error.
func (p *controlPlane) run() error {
	defer p.end()
	client, err := p.adminClient()
	if err != nil {
		return err
	}
	stop, orders := listen()
	if err := p.start(stop, client); err != nil {
		return err
	}
	if err := p.announce(); err != nil {
		return err
	}
	return p.obey(stop, orders, client)
}

func (p *controlPlane) start(stop <-chan struct{}, client *http.Client) error {
	if err := p.launch("etcd", p.etcdArgs()); err != nil {
		return err
	}
	if err := p.launch("kube-apiserver", p.apiserverArgs()); err != nil {
		return err
	}
	if err := p.await(stop, client, "/readyz"); err != nil {
		return err
	}
	if err := p.launch("kube-controller-manager", p.controllerArgs()); err != nil {
		return err
	}
	if err := p.launch("node", p.nodeArgs()); err != nil {
		return err
	}
	if err := p.await(stop, client, "/api/v1/nodes/"+nodeName); err != nil {
		return err
	}
	// The admission of pods and many clients need it.
	return p.await(stop, client, "/api/v1/namespaces/default/serviceaccounts/default")
}

func (p *controlPlane) launch(name string, args []string) error {
	c, err := start(p.dir, name, args...)
	if err == nil {
		p.running = append(p.running, c)
		p.watch(c)
	}
	return err
}

func (p *controlPlane) watch(c *component) {
	go func() {
		<-c.exited
		p.died <- c
	}()
}

// await polls until the API server answers path with 200.
func (p *controlPlane) await(stop <-chan struct{}, client *http.Client, path string) error {
	deadline := time.After(startTimeout)
	for !answersOK(client, p.endpoint+path) {
		select {
		case <-stop:
			return fmt.Errorf("told to stop before %s answered", path)
		case <-deadline:
			return p.running[len(p.running)-1].failure(fmt.Sprintf("is up, but %s did not answer 200 in %s", path, startTimeout))
		case <-time.After(50 * time.Millisecond):
		}
		if c := p.ended(); c != nil {
			return c.failure("ended with " + c.cmd.ProcessState.String())
		}
	}
	return nil
}

func answersOK(client *http.Client, url string) bool {
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (p *controlPlane) ended() *component {
	for _, c := range p.running {
		select {
		case <-c.exited:
			return c
		default:
		}
	}
	return nil
}

func (p *controlPlane) announce() error {
	ready := addresses{
		Kubeconfig:           p.path("admin.kubeconfig"),
		Server:               p.endpoint,
		CAFile:               p.ca.keyPair.cert,
		AuditLog:             p.path("audit.log"),
		ServiceAccountIssuer: issuer,
		Node:                 nodeName,
		Cgroups:              cgroupRoot(os.Getpid()),
		NodeNetns:            p.path(netnsLink),
		NodeAddresses:        nodeIPs(),
		ClusterIP:            serviceIPv4,
	}
	ready.Certs.OIDCCert, ready.Certs.OIDCKey = p.oidc.cert, p.oidc.key
	return say(ready)
}

// end goes backwards, so that nobody loses what it depends on.
func (p *controlPlane) end() {
	for i := len(p.running) - 1; i >= 0; i-- {
		p.running[i].end()
	}
	// A node that was killed has left them.
	if root := cgroupRoot(os.Getpid()); root != "" {
		if err := removeCgroup(root); err != nil {
			fmt.Fprintln(os.Stderr, "error: cgroups are left:", err)
		}
	}
}

func (p *controlPlane) adminClient() (*http.Client, error) {
	certificate, err := tls.LoadX509KeyPair(p.admin.cert, p.admin.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.ca.certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{certificate},
	}}
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}, nil
}
