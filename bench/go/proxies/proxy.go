package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
	"unique"

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

// token is shown with every stream, as a proxy's bootstrap has it.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (token) RequireTransportSecurity() bool { return true }

// proxy is one Envoy's stream. Its own goroutine reads and writes; the fleet only looks at what is under the lock.
type proxy struct {
	connection *grpc.ClientConn
	node       *core.Node
	stream     grpc.ClientStream

	want map[string]int // how many resources of each type make it complete

	secrets []string // not yet asked for

	got       map[string]int
	known     map[string]map[string]string // version by type and name: what it says that it has when it comes back
	asked     map[string]bool              // types subscribed to
	missing   map[string]map[string]bool   // names asked for and not yet received, by type
	heldNonce string                       // of a CDS response that waits for its endpoints

	complete    chan struct{}
	completedAt int64
	failed      chan error
	back        chan int64 // when it had come back

	lock      sync.Mutex
	surviving map[string]int // what it must be sent anew when it comes back; nil: it does not
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
		back:     make(chan int64, 1),
		known:    map[string]map[string]string{},
	}
}

// start opens the stream as Envoy does: everything about the node, and the wildcard of clusters.
func (p *proxy) start(connection *grpc.ClientConn, node *core.Node) error {
	p.connection, p.node = connection, node
	p.asked[clusterType] = true
	if err := p.open(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: clusterType}); err != nil {
		return err
	}
	go func() { p.failed <- p.run() }()
	return nil
}

func (p *proxy) open(first *discovery.DeltaDiscoveryRequest) error {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := p.connection.NewStream(context.Background(), description, deltaMethod)
	if err != nil {
		return err
	}
	p.stream = stream
	return stream.SendMsg(first)
}

func (p *proxy) run() error {
	for {
		received := &response{}
		err := p.stream.RecvMsg(received)
		if err == nil {
			err = p.take(received)
		}
		if want := p.wantedAnew(); err != nil && want != nil {
			p.comeBack(want)
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *proxy) survive(want map[string]int) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.surviving = want
}

func (p *proxy) wantedAnew() map[string]int {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.surviving
}

// comeBack opens streams until one is taken, with Envoy's back-off (from half a second, doubled up to 30 seconds, each
// time a random part of it), and says what the proxy has, so that it is sent only what is new.
func (p *proxy) comeBack(want map[string]int) {
	p.want, p.got, p.heldNonce, p.completedAt = want, map[string]int{}, "", 0
	p.complete = make(chan struct{})
	for limit := 500 * time.Millisecond; ; limit = min(2*limit, 30*time.Second) {
		time.Sleep(rand.N(limit))
		if p.reopen() == nil {
			return
		}
	}
}

func (p *proxy) reopen() error {
	for i, typeURL := range []string{clusterType, endpointType, listenerType, routeType, secretType} {
		request := &discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, InitialResourceVersions: p.known[typeURL]}
		if typeURL != clusterType && typeURL != listenerType {
			names := slices.Collect(maps.Keys(p.known[typeURL]))
			request.ResourceNamesSubscribe = slices.AppendSeq(names, maps.Keys(p.missing[typeURL]))
		}
		if i > 0 {
			if err := p.stream.SendMsg(request); err != nil {
				return err
			}
			continue
		}
		request.Node = p.node
		if err := p.open(request); err != nil {
			return err
		}
	}
	return nil
}

func (p *proxy) note(received *response) {
	known := p.known[received.typeURL]
	if known == nil {
		known = map[string]string{}
		p.known[received.typeURL] = known
	}
	for i, name := range received.names {
		// All proxies have the same ones: keep each text once.
		known[unique.Make(name).Value()] = unique.Make(received.versions[i]).Value()
	}
	for _, name := range received.removed {
		delete(known, name)
	}
}

// take does what Envoy does with a response: asks for what it refers to, and acknowledges it.
func (p *proxy) take(received *response) error {
	p.lock.Lock()
	p.bytes += int64(received.size)
	p.responses++
	p.lock.Unlock()

	p.note(received)
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
	if p.wantedAnew() != nil {
		select {
		case <-p.back: // an earlier return that nobody has asked for
		default:
		}
		p.back <- p.completedAt
	}
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
