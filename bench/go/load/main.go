// HTTP/1.1 load over keep-alive connections, from one thread.
//
// With a rate it is open-loop: requests arrive by a Poisson process whatever the answers do, and the latency of each
// counts from the time it was due, so that a stall is seen by all requests that it delays. Without one, every
// connection sends its next request when it has its answer: that measures throughput.
//
// One thread with epoll and a timer of nanoseconds, because a sleeping Go program wakes up to a millisecond late.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"smeagol/bench/control"
)

type result struct {
	Latencies []int64 `json:"latencies"` // nanoseconds, of answered requests that were due after the warm-up
	Answered  int     `json:"answered"`  // in all, those of the warm-up too
	Failed    int     `json:"failed"`    // refused, broken off, or answered by something else than 200
	Late      int     `json:"late"`      // not answered when the run ended
	Seconds   float64 `json:"seconds"`   // from the end of the warm-up to the last answer
}

func main() {
	address := flag.String("address", "127.0.0.1:80", "host:port to call")
	rate := flag.Float64("rate", 0, "requests a second; 0: as many as the connections carry")
	warmUp := flag.Duration("warm-up", time.Second, "not counted")
	duration := flag.Duration("duration", 5*time.Second, "counted")
	connections := flag.Int("connections", 32, "kept open")
	flag.Parse()

	runtime.LockOSThread()
	target, err := net.ResolveTCPAddr("tcp", *address)
	if err != nil {
		control.Fail(err)
	}
	g, err := newGenerator(target, *address, *connections)
	if err != nil {
		control.Fail(err)
	}
	begin := control.Now()
	g.countFrom = begin + warmUp.Nanoseconds()
	g.end = g.countFrom + duration.Nanoseconds()
	if *rate > 0 {
		g.gap = func() int64 { return int64(rand.ExpFloat64() / *rate * 1e9) }
		g.due = begin + g.gap()
	}
	if err := g.run(); err != nil {
		control.Fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(g.result); err != nil {
		control.Fail(err)
	}
}

// generator is the whole state of a run; all times are nanoseconds of CLOCK_MONOTONIC.
type generator struct {
	target  *net.TCPAddr
	request []byte
	epoll   int
	timer   int
	open    map[int32]*connection
	idle    []*connection
	waiting []int64 // requests that are due and have no connection, by the time they were due

	gap       func() int64 // to the next arrival; nil: closed loop
	due       int64        // of the next arrival
	countFrom int64
	end       int64
	result    result
}

type connection struct {
	fd     int
	due    int64 // of the request under way, 0: none
	answer answer
}

func newGenerator(target *net.TCPAddr, host string, connections int) (*generator, error) {
	epoll, err := unix.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	g := &generator{
		target:  target,
		request: []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"),
		epoll:   epoll,
		timer:   timer,
		open:    map[int32]*connection{},
	}
	if err := g.listen(timer); err != nil {
		return nil, err
	}
	for range connections {
		if err := g.connect(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *generator) listen(fd int) error {
	return unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (g *generator) connect() error {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: g.target.Port, Addr: [16]byte(g.target.IP.To16())})
	if ip4 := g.target.IP.To4(); ip4 != nil {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: g.target.Port, Addr: [4]byte(ip4)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, address); err != nil {
		return fmt.Errorf("connect to %s: %w", g.target, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	c := &connection{fd: fd}
	g.open[int32(fd)] = c
	g.idle = append(g.idle, c)
	return g.listen(fd)
}

// run sends until the end, waits for the answers that are out, at most five seconds, and counts the rest as late.
func (g *generator) run() error {
	events := make([]unix.EpollEvent, 64)
	last := g.end + (5 * time.Second).Nanoseconds()
	if g.gap == nil {
		g.refill(control.Now())
	}
	for {
		now := control.Now()
		for g.gap != nil && g.due <= now && g.due < g.end {
			g.waiting = append(g.waiting, g.due)
			g.due += g.gap()
		}
		if err := g.send(); err != nil {
			return err
		}
		if now >= g.end && (g.underWay() == 0 || now >= last) {
			g.result.Late = g.underWay()
			g.result.Seconds = float64(control.Now()-g.countFrom) / 1e9
			return nil
		}
		wake := g.end
		if now >= g.end {
			wake = last
		} else if g.gap != nil {
			wake = min(g.due, g.end)
		}
		count, err := g.wait(events, wake)
		if err != nil {
			return err
		}
		for _, event := range events[:count] {
			if c := g.open[event.Fd]; c != nil {
				if err := g.read(c); err != nil {
					return err
				}
			}
		}
	}
}

func (g *generator) wait(events []unix.EpollEvent, until int64) (int, error) {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(until)}
	if err := unix.TimerfdSettime(g.timer, unix.TFD_TIMER_ABSTIME, &at, nil); err != nil {
		return 0, err
	}
	count, err := unix.EpollWait(g.epoll, events, -1)
	if err == unix.EINTR {
		return 0, nil
	}
	return count, err
}

func (g *generator) underWay() int { return len(g.open) - len(g.idle) + len(g.waiting) }

// refill gives every idle connection a request that is due now: the closed loop.
func (g *generator) refill(now int64) {
	if g.gap == nil && now < g.end {
		for len(g.waiting) < len(g.idle) {
			g.waiting = append(g.waiting, now)
		}
	}
}

func (g *generator) send() error {
	for len(g.waiting) > 0 && len(g.idle) > 0 {
		c := g.idle[len(g.idle)-1]
		g.idle = g.idle[:len(g.idle)-1]
		c.due, g.waiting = g.waiting[0], g.waiting[1:]
		// A request is far smaller than a socket's buffer, so that it is written whole or not at all.
		if _, err := unix.Write(c.fd, g.request); err != nil {
			if err := g.replace(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *generator) read(c *connection) error {
	var buffer [16384]byte
	n, err := unix.Read(c.fd, buffer[:])
	if err == unix.EAGAIN {
		return nil
	}
	if err != nil || n == 0 {
		return g.replace(c)
	}
	done, ok := c.answer.take(buffer[:n])
	if !done {
		return nil
	}
	if !ok || c.due == 0 {
		return g.replace(c)
	}
	now := control.Now()
	g.result.Answered++
	if c.due >= g.countFrom {
		g.result.Latencies = append(g.result.Latencies, now-c.due)
	}
	c.due, c.answer = 0, answer{}
	g.idle = append(g.idle, c)
	g.refill(now)
	return nil
}

// replace closes a connection that broke, counts its request as failed, and opens another.
func (g *generator) replace(c *connection) error {
	if c.due != 0 {
		g.result.Failed++
	} else {
		for i, other := range g.idle {
			if other == c {
				g.idle = append(g.idle[:i], g.idle[i+1:]...)
				break
			}
		}
	}
	delete(g.open, int32(c.fd))
	if err := unix.Close(c.fd); err != nil {
		return err
	}
	return g.connect()
}
