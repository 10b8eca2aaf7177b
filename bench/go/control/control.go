// Package control is how the benchmark drives its programs: one JSON object a line, commands on stdin, answers on
// stdout. Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Now is the time on the clock that the other processes of the benchmark read too.
func Now() int64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		panic(err) // the clock always exists on Linux
	}
	return at.Nano()
}

// Answer prints one line of JSON.
func Answer(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		Fail(err)
	}
	fmt.Println(string(line))
}

// Serve calls handle with every command, until stdin ends: then whoever started this program has gone.
func Serve[Command any](handle func(Command) (any, error)) {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := input.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		if err != nil {
			Fail(err)
		}
		var command Command
		if err := json.Unmarshal(line, &command); err != nil {
			Fail(err)
		}
		answer, err := handle(command)
		if err != nil {
			Fail(err)
		}
		Answer(answer)
	}
}

// Fail ends the program with a reason on stderr.
func Fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
