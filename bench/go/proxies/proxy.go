package main

import (
	"context"
	"fmt"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"smeagol/bench/control"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	secretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

	deltaMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
)

// key names one resource.
type key struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// proxy is one Envoy's stream. Its own goroutine reads and writes; the fleet only looks at what is under the lock.
type proxy struct {
	stream grpc.ClientStream
	want   map[string]int // how many resources of each type make it complete

	secrets []string // not yet asked for

	got       map[string]int
	asked     map[string]bool            // types subscribed to
	missing   map[string]map[string]bool // names asked for and not yet received, by type
	heldNonce string                     // of a CDS response that waits for its endpoints

	complete    chan struct{}
	completedAt int64
	failed      chan error

	lock      sync.Mutex
	armed     bool
	acked     map[key]int64 // since it was armed
	bytes     int64
	responses int64
}

func newProxy(want map[string]int, secrets []string) *proxy {
	return &proxy{
		want:     want,
		secrets:  secrets,
		got:      map[string]int{},
		asked:    map[string]bool{},
		missing:  map[string]map[string]bool{endpointType: {}, routeType: {}, secretType: {}},
		complete: make(chan struct{}),
		failed:   make(chan error, 1),
	}
}

// start opens the stream as Envoy does: everything about the node, and the wildcard of clusters.
func (p *proxy) start(connection *grpc.ClientConn, node *core.Node) error {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(context.Background(), description, deltaMethod)
	if err != nil {
		return err
	}
	p.stream = stream
	p.asked[clusterType] = true
	if err := stream.SendMsg(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: clusterType}); err != nil {
		return err
	}
	go func() { p.failed <- p.run() }()
	return nil
}

func (p *proxy) run() error {
	for {
		received := &response{}
		if err := p.stream.RecvMsg(received); err != nil {
			return err
		}
		if err := p.take(received); err != nil {
			return err
		}
	}
}

// take does what Envoy does with a response: asks for what it refers to, and acknowledges it.
func (p *proxy) take(received *response) error {
	p.lock.Lock()
	p.bytes += int64(received.size)
	p.responses++
	p.lock.Unlock()

	p.got[received.typeURL] += len(received.names)
	for _, name := range received.names {
		delete(p.missing[received.typeURL], name)
	}
	if err := p.subscribe(referredType[received.typeURL], received.refers); err != nil {
		return err
	}
	secrets := p.secrets
	p.secrets = nil
	if err := p.subscribe(secretType, secrets); err != nil {
		return err
	}
	if received.typeURL == clusterType && len(p.missing[endpointType]) > 0 {
		// Envoy acknowledges clusters when they are warm, that is, when it has their endpoints.
		p.heldNonce = received.nonce
		return nil
	}
	if err := p.acknowledge(received.typeURL, received.nonce, received.names); err != nil {
		return err
	}
	if p.heldNonce != "" && len(p.missing[endpointType]) == 0 {
		nonce := p.heldNonce
		p.heldNonce = ""
		if err := p.acknowledge(clusterType, nonce, nil); err != nil {
			return err
		}
	}
	if p.heldNonce == "" && !p.asked[listenerType] {
		p.asked[listenerType] = true
		if err := p.stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: listenerType}); err != nil {
			return err
		}
	}
	p.checkComplete()
	return nil
}

// referredType is the type of the resources that those of a type refer to by name.
var referredType = map[string]string{clusterType: endpointType, listenerType: routeType}

func (p *proxy) subscribe(typeURL string, names []string) error {
	var fresh []string
	for _, name := range names {
		if !p.missing[typeURL][name] {
			p.missing[typeURL][name] = true
			fresh = append(fresh, name)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	return p.stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: fresh})
}

func (p *proxy) acknowledge(typeURL, nonce string, names []string) error {
	if err := p.stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, ResponseNonce: nonce}); err != nil {
		return err
	}
	at := control.Now()
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.armed {
		for _, name := range names {
			p.acked[key{typeURL, name}] = at
		}
	}
	return nil
}

func (p *proxy) checkComplete() {
	if p.completedAt != 0 || p.heldNonce != "" {
		return
	}
	for typeURL, count := range p.want {
		if p.got[typeURL] < count || len(p.missing[typeURL]) > 0 {
			return
		}
	}
	p.completedAt = control.Now()
	close(p.complete)
}

// lacks says what a proxy still waits for; only for the message of a benchmark that has failed.
func (p *proxy) lacks() string {
	return fmt.Sprintf("got %v of %v", p.got, p.want)
}

func (p *proxy) arm() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.armed = true
	p.acked = map[key]int64{}
}

// acknowledged says when the last of `keys` was acknowledged, and whether all were.
func (p *proxy) acknowledged(keys []key) (int64, bool) {
	p.lock.Lock()
	defer p.lock.Unlock()
	var last int64
	for _, k := range keys {
		at, done := p.acked[k]
		if !done {
			return 0, false
		}
		last = max(last, at)
	}
	return last, true
}

func (p *proxy) takeCounts() (bytes, responses int64) {
	p.lock.Lock()
	defer p.lock.Unlock()
	bytes, responses = p.bytes, p.responses
	p.bytes, p.responses = 0, 0
	return bytes, responses
}
