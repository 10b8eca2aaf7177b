package main

import (
	"bytes"
	"strconv"
)

// answer reads one HTTP/1.1 response as it comes; it understands content-length only, which is what the origin sends.
type answer struct {
	head []byte
	body int // bytes still to come, once the head is complete
	seen bool
	ok   bool
}

var (
	endOfHead = []byte("\r\n\r\n")
	length    = []byte("content-length:")
)

// take reads on; done when the response is complete, ok if it is a 200.
func (a *answer) take(data []byte) (done, ok bool) {
	if !a.seen {
		a.head = append(a.head, data...)
		end := bytes.Index(a.head, endOfHead)
		if end < 0 {
			return false, false
		}
		data = a.head[end+len(endOfHead):]
		a.seen = true
		var known bool
		a.body, known = contentLength(a.head[:end+2])
		a.ok = known && bytes.HasPrefix(a.head, []byte("HTTP/1.1 200"))
	}
	a.body -= len(data)
	return a.body <= 0, a.ok && a.body == 0
}

func contentLength(head []byte) (int, bool) {
	_, rest, found := bytes.Cut(bytes.ToLower(head), length)
	if !found {
		return 0, false
	}
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	value, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	return value, err == nil
}
