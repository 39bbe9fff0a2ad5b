package giteatest

import (
	"context"
	"os"
	"sync"
	"testing"
)

// shared is the one server of a test binary. It is a package variable because
// nothing else outlives a single test.
var shared struct {
	once   sync.Once
	server *Server
	skip   error // the program could not be built
	fail   error // the server did not start
}

// Shared gives the server that all tests of this binary use, and boots it for
// the first. The test is skipped when Gitea cannot be built here. The binary's
// TestMain must call Main.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		prog, err := build(context.Background(), os.Stderr)
		if err != nil {
			shared.skip = err
			return
		}
		shared.server, shared.fail = boot(context.Background(), prog, Options{})
	})
	switch {
	case shared.skip != nil:
		t.Skip(shared.skip)
	case shared.fail != nil:
		t.Fatal(shared.fail)
	}
	return shared.server
}

// Main runs the tests, stops the shared server and gives the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(giteatest.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		shared.server.Stop()
	}
	return code
}
