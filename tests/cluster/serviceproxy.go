package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
)

// serviceProxy does kube-proxy's work in the node's namespace: what is sent to the ClusterIP of a Service goes
// to the first endpoint of it, by DNAT.
type serviceProxy struct {
	pid      int
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// startServiceProxy returns once the rules for what there is are in place.
func startServiceProxy(ctx context.Context, client kubernetes.Interface, pid int) (*serviceProxy, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	services, endpoints := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	p := &serviceProxy{pid: pid, services: services.Lister(), slices: endpoints.Lister()}
	changed := make(chan struct{}, 1)
	change := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { change() },
		UpdateFunc: func(any, any) { change() },
		DeleteFunc: func(any) { change() },
	}
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), endpoints.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	factory.Start(ctx.Done())
	for _, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, errors.New("told to stop before Services were known")
		}
	}
	if err := p.apply(); err != nil {
		return nil, err
	}
	go p.follow(ctx, changed)
	return p, nil
}

func (p *serviceProxy) follow(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if err := p.apply(); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Writing the rules for Services")
			}
		}
	}
}

// apply replaces all rules at once; connections that stand keep their way.
func (p *serviceProxy) apply() error {
	rules, err := p.rules()
	if err != nil {
		return err
	}
	return inNetwork(p.pid, `nft -f - <<end
table inet services
delete table inet services
table inet services {
	chain services {
		`+strings.Join(rules, "\n\t\t")+`
	}
	chain prerouting {
		type nat hook prerouting priority dstnat
		jump services
	}
	chain output {
		type nat hook output priority -100
		jump services
	}
}
end
`)
}

func (p *serviceProxy) rules() ([]string, error) {
	services, err := p.services.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var rules []string
	for _, service := range services {
		of := labels.Set{discovery.LabelServiceName: service.Name}.AsSelector()
		endpoints, err := p.slices.EndpointSlices(service.Namespace).List(of)
		if err != nil {
			return nil, err
		}
		for _, ip := range service.Spec.ClusterIPs {
			for _, port := range service.Spec.Ports {
				if to := firstEndpoint(endpoints, isIPv6(ip), port.Name); to != "" {
					rules = append(rules, rule(ip, port, to))
				}
			}
		}
	}
	slices.Sort(rules)
	return rules, nil
}

func rule(ip string, port corev1.ServicePort, to string) string {
	family := "ip"
	if isIPv6(ip) {
		family = "ip6"
	}
	protocol := strings.ToLower(string(port.Protocol))
	return fmt.Sprintf("%s daddr %s %s dport %d dnat %s to %s", family, ip, protocol, port.Port, family, to)
}

// firstEndpoint is empty where there is none: such connections end as those to any unknown address.
func firstEndpoint(all []*discovery.EndpointSlice, ipv6 bool, port string) string {
	for _, slice := range all {
		if (slice.AddressType == discovery.AddressTypeIPv6) != ipv6 {
			continue
		}
		for _, own := range slice.Ports {
			if own.Port == nil || (own.Name != nil && *own.Name != port) {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					return joinPort(endpoint.Addresses[0], int(*own.Port))
				}
			}
		}
	}
	return ""
}

func isIPv6(ip string) bool { return strings.Contains(ip, ":") }

// variables are the kubelet's own: of the API server's Service, and of all in the namespace.
func (p *serviceProxy) variables(namespace string) ([]corev1.EnvVar, error) {
	own, err := p.services.Services(namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	if namespace != corev1.NamespaceDefault {
		server, err := p.services.Services(corev1.NamespaceDefault).Get("kubernetes")
		if err != nil {
			return nil, err
		}
		own = append(slices.Clone(own), server)
	}
	return envvars.FromServices(own), nil
}
