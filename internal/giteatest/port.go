package giteatest

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

var portsGiven atomic.Int64

// FreePort gives a loopback port that nobody listens on, and the same one only once
// to each process. It is below those that the system hands to whoever asks for any
// port: so it is still free when a server starts late, or starts again.
func FreePort() (int, error) {
	const lowest, ports, tries = 10000, 22000, 1000
	for range tries {
		port := lowest + int(int64(os.Getpid())*101+portsGiven.Add(1))%ports
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %d above %d are taken", tries, lowest)
}
