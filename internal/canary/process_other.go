//go:build !linux

package canary

// Follow sees nothing where there is no /proc.
func (w *Watch) Follow(int, <-chan struct{}) {}

// Processes sees nothing where there is no /proc.
func (w *Watch) Processes(int) {}
