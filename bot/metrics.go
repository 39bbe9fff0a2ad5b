package bot

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics shows. Labels are names from the configuration or
// words of ours, never something a PR contains, so their number is bounded.
type metrics struct {
	registry   *prometheus.Registry
	rounds     prometheus.Counter
	panics     prometheus.Counter
	leases     prometheus.Counter
	alarms     *prometheus.CounterVec
	troubles   *prometheus.CounterVec
	actions    *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	ended      *prometheus.CounterVec
	retests    *prometheus.HistogramVec
	waited     *prometheus.HistogramVec
	queued     *prometheus.GaugeVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "mergegate_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mergegate_" + name, Help: help}, labels)
	}
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mergegate_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.5, 3, 10),
		}, labels)
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		rounds:     counter("rounds_total", "Rounds begun."),
		panics:     counter("panics_total", "Bugs that were caught. Anything but zero is worth an issue."),
		leases:     counter("leases_total", "Leases taken."),
		alarms:     counters("mismatch_total", "Landings that were not what was tested. The queue is frozen.", "forge", "repo"),
		troubles:   counters("trouble_total", "Rounds that ended in trouble.", "forge", "repo"),
		actions:    counters("actions_total", "Actions begun, by kind.", "action"),
		deliveries: counters("deliveries_total", "Webhook deliveries, by what became of them.", "forge", "fate"),
		ended:      counters("requests_total", "Requests that ended.", "forge", "repo", "outcome"),
		retests:    seconds("retest_seconds", "How long retest commands took.", "verdict"),
		waited:     seconds("landing_seconds", "From the request to the landing.", "forge", "repo"),
		queued: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mergegate_requests", Help: "Requests on their way, by state.",
		}, []string{"forge", "repo", "state"}),
	}
	m.registry.MustRegister(m.rounds, m.panics, m.leases, m.alarms, m.troubles, m.actions, m.deliveries, m.ended, m.retests, m.waited, m.queued,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
