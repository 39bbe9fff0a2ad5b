package bot

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"

	"mergegate/forge"
)

// keptDeliveryIDs is how many deliveries are remembered.
const keptDeliveryIDs = 1000

// heard remembers the last deliveries that were taken. For most it only saves work:
// one that is forgotten and comes again makes us look once more. But a button that
// was pressed must not be pressed again by whoever sends the delivery twice.
type heard struct {
	mu   sync.Mutex
	last []string
}

// identities are what a delivery is known by: the forge's id of it, and, because that
// is not signed, what a pressed button said.
func identities(forge string, e forge.Event, body []byte) []string {
	var ids []string
	if e.Delivery != "" {
		ids = append(ids, forge+" "+e.Delivery)
	}
	if e.Button != "" {
		sum := sha256.Sum256(body)
		ids = append(ids, forge+" "+hex.EncodeToString(sum[:]))
	}
	return ids
}

// add says whether a delivery is new: none of what it is known by was heard before.
func (h *heard) add(ids ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(h.last, id) }) {
		return false
	}
	h.last = append(h.last, ids...)
	h.last = h.last[max(0, len(h.last)-keptDeliveryIDs):]
	return true
}

// drop forgets a delivery that could not be taken.
func (h *heard) drop(ids ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = slices.DeleteFunc(h.last, func(id string) bool { return slices.Contains(ids, id) })
}
