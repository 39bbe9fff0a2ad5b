//go:build !linux

package git

// limitMemory does nothing where one process cannot limit another.
func limitMemory(int, uint64) {}
