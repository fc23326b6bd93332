package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// The node's network is a namespace of its own, so every control plane of a machine has the same addresses.
const (
	nodeIPv4    = "172.18.0.2"
	nodeIPv6    = "fd18::2"
	gatewayIPv4 = "10.244.0.1"
	gatewayIPv6 = "fe80::1"
	// Where pods find the API server on the node's addresses.
	endpointPort = 6443
	// Of the Service kubernetes.
	serviceIPv4  = "10.96.0.1"
	serviceCIDRs = "10.96.0.0/24,fd96::/112"
)

func nodeIPs() []string { return []string{nodeIPv4, nodeIPv6} }

// nodeNetwork is what stands for the host's network: pods are joined to it by veth pairs, the API server and
// the kubelet endpoint answer on its addresses, and it does kube-proxy's work. It is made for the first pod
// that asks for a network.
type nodeNetwork struct {
	options networkOptions

	mutex   sync.Mutex
	holder  *exec.Cmd
	proxy   *serviceProxy
	indices map[int]struct{}
}

type networkOptions struct {
	node string
	// Becomes a symbolic link to the namespace.
	netns string
	// On loopback of this process's network.
	apiPort, kubeletPort int
	// Of an administrator: a node may neither read nor write EndpointSlices.
	client kubernetes.Interface
}

func newNodeNetwork(options networkOptions) *nodeNetwork {
	return &nodeNetwork{options: options, indices: map[int]struct{}{}}
}

// ensure makes the network unless it stands.
func (n *nodeNetwork) ensure(ctx context.Context) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.holder != nil {
		return nil
	}
	if err := canIsolate(); err != nil {
		return err
	}
	holder, err := hold(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET})
	if err != nil {
		return err
	}
	if err := n.make(ctx, holder.Process.Pid); err != nil {
		end(holder)
		return fmt.Errorf("making the node's network: %w", err)
	}
	n.holder = holder
	return nil
}

// canIsolate says what a person has to do where it cannot be.
func canIsolate() error {
	if os.Geteuid() != 0 {
		return errors.New("a pod with a network of its own needs root: run the control plane as root")
	}
	for _, tool := range []string{"ip", "nft", "nsenter", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a pod with a network of its own needs %s: install iproute2, nftables and util-linux", tool)
		}
	}
	return nil
}

func (n *nodeNetwork) make(ctx context.Context, pid int) error {
	if err := inNetwork(pid, nodeScript()); err != nil {
		return err
	}
	for _, ip := range nodeIPs() {
		if err := forward(pid, joinPort(ip, endpointPort), n.options.apiPort); err != nil {
			return err
		}
		if err := forward(pid, joinPort(ip, n.options.kubeletPort), n.options.kubeletPort); err != nil {
			return err
		}
	}
	if err := n.publish(ctx); err != nil {
		return err
	}
	// It outlives the pod for which the network was made.
	proxy, err := startServiceProxy(context.WithoutCancel(ctx), n.options.client, pid)
	if err != nil {
		return err
	}
	n.proxy = proxy
	// What reads the link while it changes sees the old one or the new one.
	draft := n.options.netns + ".draft"
	if err := os.Symlink(netnsPath(pid), draft); err != nil {
		return err
	}
	return os.Rename(draft, n.options.netns)
}

// nodeScript gives the namespace an interface with the node's addresses. Its default routes lead nowhere; a
// process of the node needs them all the same to connect to a ClusterIP.
func nodeScript() string {
	return `
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
ip -batch - <<end
link set lo up
link add eth0 type veth peer name uplink
addr add ` + nodeIPv4 + `/16 dev eth0
addr add ` + nodeIPv6 + `/64 dev eth0 nodad
link set uplink up
link set eth0 up
route add default dev eth0
route add ::/0 dev eth0
end
`
}

// podNetwork is what one pod has of it.
type podNetwork struct {
	index  int
	device string
	ips    []string
}

// join connects the namespace of process pid.
func (n *nodeNetwork) join(uid string, pid int) (*podNetwork, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	pod := &podNetwork{index: n.freeIndex(), device: "veth" + uid[:8]}
	pod.ips = []string{fmt.Sprintf("10.244.0.%d", pod.index), fmt.Sprintf("fd44::%x", pod.index)}
	if err := inNetwork(n.holder.Process.Pid, pod.nodeScript(pid)); err != nil {
		return nil, err
	}
	n.indices[pod.index] = struct{}{}
	return pod, inNetwork(pid, pod.podScript())
}

// freeIndex is the lowest: an address that a pod had goes to the next one, as on busy nodes.
func (n *nodeNetwork) freeIndex() int {
	for index := 2; ; index++ {
		if _, taken := n.indices[index]; !taken {
			return index
		}
	}
}

func (p *podNetwork) nodeScript(pid int) string {
	return fmt.Sprintf(`ip -batch - <<end
link add %[1]s type veth peer name eth0 netns %[2]d
addr add %[3]s/32 dev %[1]s
addr add %[4]s/64 dev %[1]s nodad
link set %[1]s up
route add %[5]s/32 dev %[1]s
route add %[6]s/128 dev %[1]s
end
`, p.device, pid, gatewayIPv4, gatewayIPv6, p.ips[0], p.ips[1])
}

func (p *podNetwork) podScript() string {
	return fmt.Sprintf(`
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip -batch - <<end
link set lo up
addr add %[1]s/32 dev eth0
addr add %[2]s/128 dev eth0 nodad
link set eth0 up
route add %[3]s dev eth0 scope link
route add default via %[3]s dev eth0
route add ::/0 via %[4]s dev eth0
end
`, p.ips[0], p.ips[1], gatewayIPv4, gatewayIPv6)
}

// leave takes the pod's interface away at once; the kernel itself is late with that.
func (n *nodeNetwork) leave(pod *podNetwork) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	delete(n.indices, pod.index)
	return inNetwork(n.holder.Process.Pid, "ip link del "+pod.device)
}

func (n *nodeNetwork) netns() string { return netnsPath(n.holder.Process.Pid) }

// serviceVariables are what the kubelet tells every container of namespace.
func (n *nodeNetwork) serviceVariables(namespace string) ([]corev1.EnvVar, error) {
	return n.proxy.variables(namespace)
}

func (n *nodeNetwork) end() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.holder != nil {
		os.Remove(n.options.netns)
		end(n.holder)
		n.holder = nil
	}
}

// hold starts what does nothing but keep namespaces; the kernel ends it with this process.
func hold(attributes *syscall.SysProcAttr, wrapper ...string) (*exec.Cmd, error) {
	argv := append(wrapper, "sleep", "infinity")
	holder := exec.Command(argv[0], argv[1:]...)
	attributes.Pdeathsig = syscall.SIGKILL
	holder.SysProcAttr = attributes
	return holder, holder.Start()
}

func end(holder *exec.Cmd) {
	holder.Process.Kill()
	holder.Wait()
}

// inNetwork runs a shell script in the network namespace of pid.
func inNetwork(pid int, script string) error {
	command := exec.Command("nsenter", "--net="+netnsPath(pid), "--", "sh", "-euc", script)
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}

func netnsPath(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

func joinPort(ip string, port int) string { return net.JoinHostPort(ip, fmt.Sprint(port)) }
