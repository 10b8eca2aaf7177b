// The application behind the proxies: answers every request with 200 and a small body, as cheaply as net/http can.
package main

import (
	"bytes"
	"flag"
	"net/http"

	"smeagol/bench/control"
)

func main() {
	address := flag.String("address", "0.0.0.0:8080", "where to listen")
	size := flag.Int("size", 256, "bytes of the body")
	flag.Parse()
	body := bytes.Repeat([]byte("x"), *size)
	control.Fail(http.ListenAndServe(*address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body) // a client that has gone is counted at the client
	})))
}
