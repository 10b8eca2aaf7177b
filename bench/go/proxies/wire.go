package main

import (
	"errors"
	"fmt"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	manager "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// response is what a proxy needs to know of a DeltaDiscoveryResponse.
type response struct {
	typeURL, nonce string
	names          []string // of the resources in it
	versions       []string // theirs
	removed        []string // names of resources that are gone
	refers         []string // names of the resources that those refer to
	size           int      // bytes
}

var errMalformed = errors.New("the response is malformed")

// fields calls take with every length-delimited field of a message; the discovery messages have hardly any other.
func fields(message []byte, take func(number protowire.Number, content []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errMalformed
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return errMalformed
			}
			message = message[n:]
			continue
		}
		content, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return errMalformed
		}
		message = message[n:]
		if err := take(number, content); err != nil {
			return err
		}
	}
	return nil
}

// parse reads a DeltaDiscoveryResponse; field numbers are those of service.discovery.v3.
func (r *response) parse(message []byte) error {
	r.size = len(message)
	return fields(message, func(number protowire.Number, content []byte) error {
		switch number {
		case 2:
			return r.parseResource(content)
		case 4:
			r.typeURL = string(content)
		case 5:
			r.nonce = string(content)
		case 6:
			r.removed = append(r.removed, string(content))
		}
		return nil
	})
}

func (r *response) parseResource(message []byte) error {
	var name, version string
	var body []byte
	err := fields(message, func(number protowire.Number, content []byte) error {
		switch number {
		case 1:
			version = string(content)
		case 2:
			body = content
		case 3:
			name = string(content)
		}
		return nil
	})
	if err != nil {
		return err
	}
	names, err := referrals.of(name, version, body)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.names = append(r.names, name)
	r.versions = append(r.versions, version)
	r.refers = append(r.refers, names...)
	return nil
}

// referrals remembers what resources refer to: all proxies get the same ones, so each is looked into once.
var referrals cache

type cache struct{ known sync.Map }

type edition struct{ name, version, typeURL string }

func (c *cache) of(name, version string, body []byte) ([]string, error) {
	var typeURL string
	var message []byte
	err := fields(body, func(number protowire.Number, content []byte) error {
		switch number {
		case 1:
			typeURL = string(content)
		case 2:
			message = content
		}
		return nil
	})
	if err != nil || (typeURL != clusterType && typeURL != listenerType) {
		return nil, err
	}
	id := edition{name, version, typeURL}
	if names, known := c.known.Load(id); known {
		return names.([]string), nil
	}
	names, err := referred(typeURL, message)
	if err == nil {
		c.known.Store(id, names)
	}
	return names, err
}

func referred(typeURL string, message []byte) ([]string, error) {
	if typeURL == clusterType {
		c := &cluster.Cluster{}
		if err := proto.Unmarshal(message, c); err != nil {
			return nil, err
		}
		if c.GetType() != cluster.Cluster_EDS {
			return nil, nil
		}
		if name := c.GetEdsClusterConfig().GetServiceName(); name != "" {
			return []string{name}, nil
		}
		return []string{c.GetName()}, nil
	}
	l := &listener.Listener{}
	if err := proto.Unmarshal(message, l); err != nil {
		return nil, err
	}
	var names []string
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, filter := range chain.GetFilters() {
			m := &manager.HttpConnectionManager{}
			if filter.GetTypedConfig().MessageIs(m) {
				if err := filter.GetTypedConfig().UnmarshalTo(m); err != nil {
					return nil, err
				}
				if name := m.GetRds().GetRouteConfigName(); name != "" {
					names = append(names, name)
				}
			}
		}
	}
	return names, nil
}

// codec sends protocol messages and reads responses as narrowly as `response` has them.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(value any) (mem.BufferSlice, error) {
	raw, err := proto.Marshal(value.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(raw)}, err
}

func (codec) Unmarshal(data mem.BufferSlice, value any) error {
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	return value.(*response).parse(whole.ReadOnlyData())
}
