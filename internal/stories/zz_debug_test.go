package stories
import ("os";"testing";"net/http";"bytes";"fmt";"time")
func BenchmarkZZ(b *testing.B) {
	gate := newWorld(b, true)
	gate.policy = "  require: {approvals: 0}\n  retest: {command: 'true', timeout: 1m}\n"
	seen := gate.count()
	f,_ := os.Create("/tmp/perf-http.log")
	gate.proxy.on(func(_ http.ResponseWriter, r *http.Request, _ func() *bytes.Buffer) bool {
		seen.mu.Lock(); seen.last=time.Now(); fmt.Fprintf(f,"%s HTTP %s %s\n", time.Now().Format("15:04:05.000"), asks(r), r.URL.RawQuery); seen.mu.Unlock()
		return false
	})
	r := gate.start(usual)
	for i := range 3 {
		d := gate.took(i, func(pr int, _ string) { fmt.Fprintf(f,"%s LABEL\n", time.Now().Format("15:04:05.000")); gate.label(gate.bob, pr) }, func() { seen.rest(gate) })
		fmt.Fprintf(f, "%s took %v\n", time.Now().Format("15:04:05.000"), d)
	}
	data,_ := os.ReadFile(r.log)
	os.WriteFile("/tmp/perf-bot.log", data, 0o600)
}
