// A discovery server on go-control-plane, to compare with: the resources of a file, served to every node alike.
//
// It does only what a control plane on that library must: there is no translation, so a change is one ready resource.
// Two caches can be had: `snapshot` is the one its users mostly take, `linear` the one made for large collections.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"smeagol/bench/control"
)

// Resources by type URL and name.
type Resources map[string]map[string]types.Resource

func (r Resources) put(wire *discovery.Resource) (string, types.Resource, error) {
	message, err := wire.GetResource().UnmarshalNew()
	if err != nil {
		return "", nil, err
	}
	typeURL := wire.GetResource().GetTypeUrl()
	if r[typeURL] == nil {
		r[typeURL] = map[string]types.Resource{}
	}
	r[typeURL][wire.GetName()] = message
	return typeURL, message, nil
}

// readResources reads discovery.v3.Resource messages, each after its length.
func readResources(path string) (Resources, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	resources := Resources{}
	for input := bufio.NewReader(file); ; {
		wire := &discovery.Resource{}
		if err := protodelim.UnmarshalFrom(input, wire); errors.Is(err, io.EOF) {
			return resources, nil
		} else if err != nil {
			return nil, err
		}
		if _, _, err := resources.put(wire); err != nil {
			return nil, err
		}
	}
}

// holder is a cache of the library that can take changed resources.
type holder interface {
	cache() cache.Cache
	change(changed []*discovery.Resource) error
}

// everybody is a NodeHash that gives one snapshot to all: cheaper than one for each node, which is the usual way.
type everybody struct{}

func (everybody) ID(*core.Node) string { return "all" }

type snapshots struct {
	held      cache.SnapshotCache
	resources Resources
	version   int
}

func newSnapshots(resources Resources) (*snapshots, error) {
	s := &snapshots{held: cache.NewSnapshotCache(true, everybody{}, nil), resources: resources}
	return s, s.publish()
}

func (s *snapshots) cache() cache.Cache { return s.held }

func (s *snapshots) publish() error {
	s.version++
	lists := map[string][]types.Resource{}
	for typeURL, named := range s.resources {
		for _, resource := range named {
			lists[typeURL] = append(lists[typeURL], resource)
		}
	}
	snapshot, err := cache.NewSnapshot(strconv.Itoa(s.version), lists)
	if err != nil {
		return err
	}
	return s.held.SetSnapshot(context.Background(), "all", snapshot)
}

func (s *snapshots) change(changed []*discovery.Resource) error {
	for _, wire := range changed {
		if _, _, err := s.resources.put(wire); err != nil {
			return err
		}
	}
	return s.publish()
}

type linears struct {
	byType map[string]*cache.LinearCache
	mux    *cache.MuxCache
}

func newLinears(resources Resources) *linears {
	l := &linears{byType: map[string]*cache.LinearCache{}, mux: &cache.MuxCache{
		Classify:      func(request *cache.Request) string { return request.GetTypeUrl() },
		ClassifyDelta: func(request *cache.DeltaRequest) string { return request.GetTypeUrl() },
		Caches:        map[string]cache.Cache{},
	}}
	for typeURL, named := range resources {
		l.byType[typeURL] = cache.NewLinearCache(typeURL, cache.WithInitialResources(named))
		l.mux.Caches[typeURL] = l.byType[typeURL]
	}
	return l
}

func (l *linears) cache() cache.Cache { return l.mux }

func (l *linears) change(changed []*discovery.Resource) error {
	for _, wire := range changed {
		typeURL, resource, err := Resources{}.put(wire)
		if err != nil {
			return err
		}
		if err := l.byType[typeURL].UpdateResource(wire.GetName(), resource); err != nil {
			return err
		}
	}
	return nil
}

type command struct {
	// Op is `change`, or `rest`: give memory that is free back to the system, as would happen in time.
	Op string `json:"op"`
	// Resources are serialized discovery.v3.Resource messages.
	Resources [][]byte `json:"resources"`
}

type answer struct {
	At   int64 `json:"at"`   // when the change began
	Done int64 `json:"done"` // when the cache had taken it
}

func main() {
	path := flag.String("resources", "", "file of length-prefixed discovery.v3.Resource messages")
	mode := flag.String("cache", "snapshot", "snapshot or linear")
	flag.Parse()

	resources, err := readResources(*path)
	if err != nil {
		control.Fail(err)
	}
	var held holder
	switch *mode {
	case "snapshot":
		held, err = newSnapshots(resources)
	case "linear":
		held = newLinears(resources)
	default:
		err = fmt.Errorf("no cache is called %q", *mode)
	}
	if err != nil {
		control.Fail(err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		control.Fail(err)
	}
	grpcServer := grpc.NewServer(grpc.MaxConcurrentStreams(100_000), grpc.MaxRecvMsgSize(16<<20))
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), held.cache(), nil))
	go func() { control.Fail(grpcServer.Serve(listener)) }()
	debug.FreeOSMemory()

	control.Answer(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port, "versions": versions()})
	control.Serve(func(c command) (any, error) {
		if c.Op == "rest" {
			debug.FreeOSMemory()
			return answer{}, nil
		}
		at := control.Now()
		changed := make([]*discovery.Resource, 0, len(c.Resources))
		for _, raw := range c.Resources {
			wire := &discovery.Resource{}
			if err := proto.Unmarshal(raw, wire); err != nil {
				return nil, err
			}
			changed = append(changed, wire)
		}
		if err := held.change(changed); err != nil {
			return nil, err
		}
		return answer{At: at, Done: control.Now()}, nil
	})
}

// versions are those of the modules that matter to the measurement, and of Go.
func versions() map[string]string {
	found := map[string]string{"Go": runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return found
	}
	for _, module := range info.Deps {
		switch module.Path {
		case "github.com/envoyproxy/go-control-plane":
			found["go-control-plane"] = module.Version
		case "google.golang.org/grpc":
			found["grpc-go"] = module.Version
		}
	}
	return found
}
