// Many simulated Envoys: each holds an ADS stream of the delta variant on a connection of its own, asks for what an
// Envoy asks for in an Envoy's order, and acknowledges everything.
//
// It parses no more of a response than it must, so that two cores have room for the server that is measured.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"smeagol/bench/control"
)

type command struct {
	// Op is `connect`, `arm` (from now on, note when resources are acknowledged), `await`, `survive` (from now on,
	// proxies whose stream breaks come back as Envoys do) or `returned` (wait until all have broken and come back).
	Op string `json:"op"`
	// Proxies to connect in all.
	Proxies int `json:"proxies"`
	// Want says how many resources of each type URL make a proxy complete.
	Want map[string]int `json:"want"`
	// Secrets are the names that each asks for, as its clusters and listeners would have it do.
	Secrets []string `json:"secrets"`
	// Keys are the resources whose acknowledgement by all is awaited.
	Keys    []key         `json:"keys"`
	Timeout time.Duration `json:"timeout"` // in nanoseconds
}

type answer struct {
	// Times are nanoseconds of CLOCK_MONOTONIC, one a proxy, in order: when it was complete, or had acknowledged all.
	Times []int64 `json:"times"`
	Began int64   `json:"began"`
	// Bytes and Responses received by all proxies since the last answer.
	Bytes     int64 `json:"bytes"`
	Responses int64 `json:"responses"`
}

func main() {
	address := flag.String("address", "", "host:port of the discovery server")
	nodeFile := flag.String("node", "", "file with the core.v3.Node that a real Envoy sends; each proxy has its own id in it")
	connecting := flag.Int("connecting", 32, "how many proxies connect at a time")
	authority := flag.String("authority", "", "file with the roots (PEM) to trust; without it there is no TLS")
	serverName := flag.String("server-name", "", "the name that the server's certificate must have")
	tokenFile := flag.String("tokens", "", "file with the token of each proxy, one a line; without it they show none")
	flag.Parse()

	raw, err := os.ReadFile(*nodeFile)
	if err != nil {
		control.Fail(err)
	}
	node := &core.Node{}
	if err := proto.Unmarshal(raw, node); err != nil {
		control.Fail(err)
	}
	fleet := &fleet{address: *address, node: node, connecting: *connecting, security: insecure.NewCredentials()}
	if *authority != "" {
		if fleet.security, err = credentials.NewClientTLSFromFile(*authority, *serverName); err != nil {
			control.Fail(err)
		}
	}
	if *tokenFile != "" {
		raw, err := os.ReadFile(*tokenFile)
		if err != nil {
			control.Fail(err)
		}
		fleet.tokens = strings.Fields(string(raw))
	}
	control.Answer(map[string]bool{"ready": true})
	control.Serve(func(c command) (any, error) {
		switch c.Op {
		case "connect":
			return fleet.connect(c)
		case "arm":
			return fleet.arm(), nil
		case "await":
			return fleet.await(c.Keys, c.Timeout)
		case "survive":
			return fleet.survive(c.Want), nil
		case "returned":
			return fleet.returned(c.Timeout)
		}
		return nil, fmt.Errorf("no command is called %q", c.Op)
	})
}

type fleet struct {
	address    string
	node       *core.Node
	connecting int
	security   credentials.TransportCredentials
	tokens     []string
	proxies    []*proxy
}

// connect brings the fleet to this size and waits until every proxy has all it wants.
func (f *fleet) connect(c command) (answer, error) {
	began := control.Now()
	fresh := make([]*proxy, 0, c.Proxies)
	for range c.Proxies - len(f.proxies) {
		fresh = append(fresh, newProxy(c.Want, c.Secrets))
	}
	var all sync.WaitGroup
	places := make(chan struct{}, f.connecting)
	failures := make(chan error, len(fresh))
	for i, p := range fresh {
		number := len(f.proxies) + i
		id := fmt.Sprintf("shop/pod-%05d", number)
		all.Add(1)
		go func() {
			defer all.Done()
			places <- struct{}{}
			defer func() { <-places }()
			if err := f.open(p, id, number); err != nil {
				failures <- err
				return
			}
			select {
			case <-p.complete:
			case err := <-p.failed:
				failures <- fmt.Errorf("%s: %w", id, err)
			case <-time.After(c.Timeout):
				failures <- fmt.Errorf("%s is not complete after %s: %s", id, c.Timeout, p.lacks())
			}
		}()
	}
	all.Wait()
	select {
	case err := <-failures:
		return answer{}, err
	default:
	}
	f.proxies = append(f.proxies, fresh...)
	times := make([]int64, 0, len(fresh))
	for _, p := range fresh {
		times = append(times, p.completedAt)
	}
	return f.answer(began, times), nil
}

func (f *fleet) open(p *proxy, id string, number int) error {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(f.security),
		// As the bootstrap of our proxies has it.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 20 * time.Second,
		}),
		// As large as Envoy's: a smaller window would make the server wait for the client.
		grpc.WithInitialWindowSize(16 << 20),
		grpc.WithInitialConnWindowSize(16 << 20),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(64<<20)),
	}
	if f.tokens != nil {
		options = append(options, grpc.WithPerRPCCredentials(token(f.tokens[number])))
	}
	connection, err := grpc.NewClient(f.address, options...)
	if err != nil {
		return err
	}
	node := proto.Clone(f.node).(*core.Node)
	node.Id = id
	return p.start(connection, node)
}

func (f *fleet) arm() answer {
	for _, p := range f.proxies {
		p.arm()
	}
	return f.answer(control.Now(), nil)
}

// await waits until every proxy has acknowledged all of `keys` since it was armed.
func (f *fleet) await(keys []key, timeout time.Duration) (answer, error) {
	deadline := time.Now().Add(timeout)
	times := make([]int64, 0, len(f.proxies))
	for _, p := range f.proxies {
		for {
			at, done := p.acknowledged(keys)
			if done {
				times = append(times, at)
				break
			}
			select {
			case err := <-p.failed:
				return answer{}, err
			case <-time.After(2 * time.Millisecond): // the times are noted by the proxies: this delays no figure
			}
			if time.Now().After(deadline) {
				return answer{}, fmt.Errorf("%d of %d proxies have acknowledged %v after %s", len(times), len(f.proxies), keys, timeout)
			}
		}
	}
	return f.answer(control.Now(), times), nil
}

// survive tells all proxies to come back when their stream breaks, and how many resources of each type they must then be
// sent anew: what a server that starts again cannot have kept.
func (f *fleet) survive(want map[string]int) answer {
	for _, p := range f.proxies {
		p.survive(want)
	}
	return f.answer(control.Now(), nil)
}

// returned waits until every proxy has come back.
func (f *fleet) returned(timeout time.Duration) (answer, error) {
	late := time.After(timeout)
	times := make([]int64, 0, len(f.proxies))
	for _, p := range f.proxies {
		select {
		case at := <-p.back:
			times = append(times, at)
		case err := <-p.failed:
			return answer{}, err
		case <-late:
			return answer{}, fmt.Errorf("%d of %d proxies have come back after %s", len(times), len(f.proxies), timeout)
		}
	}
	return f.answer(control.Now(), times), nil
}

func (f *fleet) answer(began int64, times []int64) answer {
	slices.Sort(times)
	a := answer{Times: times, Began: began}
	for _, p := range f.proxies {
		bytes, responses := p.takeCounts()
		a.Bytes += bytes
		a.Responses += responses
	}
	return a
}
