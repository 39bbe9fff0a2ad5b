package git

import "golang.org/x/sys/unix"

// limitMemory bounds the data of a process and of what it starts later. It comes
// just after the start, when git has not read anything yet. A process that is
// gone already needs no limit.
func limitMemory(pid int, bytes uint64) {
	_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}, nil)
}
