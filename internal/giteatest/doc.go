// Package giteatest runs a real Gitea for tests and for the demo.
//
// Gitea is built from the Go module proxy by a small module of its own
// (giteamodule), so that the product's go.mod stays small, and cached in the
// user's cache directory. A server has its own directory, its own loopback port
// and an SQLite database; it dies with the process that started it.
//
// The server is Gitea's own, with three settings that make tests quick and
// change nothing that mergegate looks at: a cheap password hash (a user costs
// milliseconds instead of a second), no fsync in git, and the channel queue
// (webhooks arrive in about 0.1 s; Options.Queue "level" gives the default
// queue, which users have). Mergeability checks always use the default queue: the
// channel queue of 1.26.0 can lose one for good, because it notes an entry as
// queued only after a worker may have taken it out.
//
// Tests of one binary share one server: TestMain calls Main, each test calls
// Shared and makes its own users and repositories, named by Server.Unique.
//
// Never use it for anything that must be kept: passwords and tokens are weak
// and known, and webhooks may reach the loopback network.
package giteatest
