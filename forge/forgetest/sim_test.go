package forgetest

import "testing"

// TestSim holds the simulated forge to what every real one must do.
func TestSim(t *testing.T) { Run(t, NewSim().World()) }
