package ghspec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mergegate/forge/localhub"
	"mergegate/gate"
	"mergegate/internal/ghspec"
)

// TestReplay asks the local GitHub what the real one was asked, in the same
// order, and holds its answers beside the recorded ones: status, headers, the
// shape of the body, and the values that do not change from run to run.
func TestReplay(t *testing.T) {
	judge, err := ghspec.New()
	must(t, err)
	hub, err := localhub.Start(t.Context(), localhub.Options{Dir: t.TempDir(), Wrap: judge.Handler})
	must(t, err)
	defer hub.Stop()
	user, err := hub.AddUser("octokit-fixture-user-a")
	must(t, err)
	must(t, hub.AddOrg("octokit-fixture-org"))
	replayed := 0
	for name, all := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			p := player{hub: hub, token: user.Token, client: &http.Client{
				Transport:     judge.Transport(http.DefaultTransport),
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}, ours: map[string]string{"https://api.github.com": hub.API}}
			p.setup(t, all[0], all[1:])
			for _, e := range all[1:] {
				if to := renamed(e); to != "" {
					must(t, p.hub.Rename(p.repo, to))
					p.repo = "octokit-fixture-org/" + to
				}
				if why := leftOut(e); why != "" {
					t.Logf("not replayed: %v: %s", e, why)
					continue
				}
				p.play(t, e)
				replayed++
			}
		})
	}
	r := judge.Report()
	t.Logf("%d recorded exchanges replayed; %v", replayed, r)
	if len(r.Violations) > 0 || replayed < 35 {
		t.Errorf("%d replayed, %d violations", replayed, len(r.Violations))
	}
}

// leftOut says why an exchange is not for the local GitHub; "" when it is.
func leftOut(e exchange) string {
	_, below, _ := strings.Cut(e.Path, "/tmp-scenario-")
	switch {
	case strings.HasPrefix(e.Path, "/teams/"):
		return "there are no teams"
	case e.Method == "delete" && strings.Count(e.Path, "/") < 4:
		return "repositories are not deleted"
	case e.Method == "patch" && strings.Count(e.Path, "/") < 4 && e.Status == http.StatusOK:
		return "the bot never edits a repository's name and description"
	case strings.HasSuffix(below, "/git/refs/"):
		return "GitHub no longer describes a list of all refs"
	case strings.HasSuffix(below, "/protection") && e.Method != "get":
		return "the bot never changes branch protection"
	}
	return ""
}

// renamed is the new name that a person gives the repository; "" for none.
func renamed(e exchange) string {
	var to struct{ Name string }
	if e.Method != "patch" || !strings.HasPrefix(e.Path, "/repos/") || e.Status != http.StatusOK || json.Unmarshal(e.Body, &to) != nil {
		return ""
	}
	if strings.Count(e.Path, "/") > 3 {
		return "" // a label
	}
	return to.Name
}

// player asks the local GitHub.
type player struct {
	hub    *localhub.Hub
	token  string
	repo   string // owner/name
	client *http.Client
	ours   map[string]string // recorded value → ours: the API's address, commits, ids
}

// setup makes the repository that the scenario starts with making. Labels that
// GitHub puts into every new repository are there too.
func (p *player) setup(t *testing.T, made exchange, rest []exchange) {
	t.Helper()
	var repo struct {
		Full string `json:"full_name"`
	}
	must(t, json.Unmarshal(made.Response, &repo))
	p.repo = repo.Full
	must(t, p.hub.AddRepoWith(repo.Full, map[string]string{"LICENSE": "free\n"}))
	must(t, p.hub.Collaborate(repo.Full, "octokit-fixture-user-a", gate.RoleAdmin))
	if len(rest) > 0 && rest[0].Method == "get" && strings.HasSuffix(rest[0].Path, "/labels") {
		var labels []struct {
			Name        string `json:"name"`
			Color       string `json:"color"`
			Description string `json:"description"`
		}
		must(t, json.Unmarshal(rest[0].Response, &labels))
		for _, l := range labels {
			body, err := json.Marshal(l)
			must(t, err)
			p.ask(t, "POST", "/repos/"+repo.Full+"/labels", body)
		}
	}
	made.Method, made.Path, made.Body, made.Status, made.RawHeaders = "get", "/repos/"+repo.Full, nil, 200, nil
	p.play(t, made) // the answer to making a repository is the repository
}

// play asks once and compares.
func (p *player) play(t *testing.T, e exchange) {
	t.Helper()
	res, data := p.ask(t, e.Method, p.translate(e.Path), []byte(p.translate(string(wire(e.Body)))))
	if res.StatusCode != e.Status {
		t.Errorf("%v: %d %s, want %d", e, res.StatusCode, data, e.Status)
		return
	}
	want := wire(e.Response)
	if len(want) == 0 || len(data) == 0 {
		if len(want) != len(data) {
			t.Errorf("%v: %d bytes, want %d", e, len(data), len(want))
		}
	} else {
		var theirs, ours any
		must(t, json.Unmarshal(want, &theirs))
		must(t, json.Unmarshal(data, &ours))
		p.learn(theirs, ours)
		for _, d := range p.differences("", theirs, ours) {
			t.Errorf("%v: %s", e, d)
		}
	}
	p.headers(t, e, res.Header)
}

// ask makes one call and reads the answer.
func (p *player) ask(t *testing.T, method, path string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(method), p.hub.API+path, bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "token "+p.token)
	req.Header.Set("Accept", "application/vnd.github+json")
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := p.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	must(t, err)
	return res, data
}

// headers compares those that clients go by.
func (p *player) headers(t *testing.T, e exchange, ours http.Header) {
	t.Helper()
	theirs := e.header()
	if len(theirs) == 0 {
		return
	}
	if e.Method == "get" && theirs.Get("ETag") != "" && ours.Get("ETag") == "" {
		t.Errorf("%v: no ETag to ask with again", e)
	}
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Used", "X-RateLimit-Reset", "X-GitHub-Request-Id"} {
		if theirs.Get(name) != "" && ours.Get(name) == "" {
			t.Errorf("%v: no header %s", e, name)
		}
	}
	if got, want := links(ours.Get("Link")), links(p.translate(theirs.Get("Link"))); !maps.Equal(got, want) {
		t.Errorf("%v: links to %v, want %v", e, got, want)
	}
	for _, name := range []string{"Content-Type", "Location", "X-GitHub-Media-Type", "X-RateLimit-Resource"} {
		if want := p.translate(theirs.Get(name)); ours.Get(name) != want {
			t.Errorf("%v: %s is %q, want %q", e, name, ours.Get(name), want)
		}
	}
}

// links takes a Link header apart: where each relation leads, with the query in
// alphabetical order.
func links(header string) map[string]string {
	to := map[string]string{}
	for _, m := range regexp.MustCompile(`<([^>?]*)\?([^>]*)>; rel="(\w+)"`).FindAllStringSubmatch(header, -1) {
		query := strings.Split(m[2], "&")
		slices.Sort(query)
		to[m[3]] = m[1] + "?" + strings.Join(query, "&")
	}
	return to
}

// learn notes what our values are called that differ from run to run.
func (p *player) learn(theirs, ours any) {
	switch theirs := theirs.(type) {
	case map[string]any:
		our, _ := ours.(map[string]any)
		for key, v := range theirs {
			if id, ok := v.(float64); ok && key == "id" {
				if our, ok := our[key].(float64); ok {
					p.ours[fmt.Sprintf("/repositories/%.0f", id)] = fmt.Sprintf("/repositories/%.0f", our)
				}
			}
			p.learn(v, our[key])
		}
	case []any:
		our, _ := ours.([]any)
		for i, v := range theirs {
			if i < len(our) {
				p.learn(v, our[i])
			}
		}
	case string:
		hex := regexp.MustCompile(`^[0-9a-f]{40}$`)
		if our, ok := ours.(string); ok && hex.MatchString(theirs) && hex.MatchString(our) {
			p.ours[theirs] = our
		}
	}
}

func (p *player) translate(s string) string {
	for theirs, ours := range p.ours {
		s = strings.ReplaceAll(s, theirs, ours)
	}
	return s
}

// differences lists what the recorded answer has and ours has not: keys, types,
// lengths of lists, and the values of fields that do not change from run to run.
func (p *player) differences(at string, theirs, ours any) []string {
	var found []string
	switch theirs := theirs.(type) {
	case map[string]any:
		our, ok := ours.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, want an object", at, ours)}
		}
		for key, v := range theirs {
			o, ok := our[key]
			if !ok && slices.Contains(omitted(), key) {
				continue
			}
			if !ok {
				found = append(found, fmt.Sprintf("no %s.%s", at, key))
				continue
			}
			if fixed(key) && plain(v) && p.translate(fmt.Sprint(v)) != fmt.Sprint(o) {
				found = append(found, fmt.Sprintf("%s.%s is %v, want %v", at, key, o, v))
			}
			found = append(found, p.differences(at+"."+key, v, o)...)
		}
	case []any:
		our, ok := ours.([]any)
		if at == ".commit.parents" {
			return nil // our repositories start with a commit, GitHub's were empty
		}
		if !ok || len(our) != len(theirs) {
			return []string{fmt.Sprintf("%s has %d elements, want %d", at, len(our), len(theirs))}
		}
		for i, v := range theirs {
			found = append(found, p.differences(fmt.Sprintf("%s[%d]", at, i), v, our[i])...)
		}
	case nil:
	default:
		if fmt.Sprintf("%T", theirs) != fmt.Sprintf("%T", ours) {
			found = append(found, fmt.Sprintf("%s is %T (%v), want %T (%v)", at, ours, ours, theirs, theirs))
		}
	}
	slices.Sort(found)
	return found
}

func plain(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// fixed says whether a field has the same value whenever the scenario is played.
func fixed(key string) bool {
	return slices.Contains([]string{"ref", "name", "color", "state", "context", "description", "message", "code", "field", "resource", "total_count", "title", "number", "sha", "target_url", "url"}, key)
}

// omitted are fields that the local GitHub leaves out. The description does not
// require them, and mergegate reads none of them.
func omitted() []string {
	return []string{"closed_by", "organization", "temp_clone_token", "use_squash_pr_title_as_default"}
}

// What differs is found.
func TestDifferences(t *testing.T) {
	p := player{ours: map[string]string{"aaa": "bbb"}}
	for _, tt := range []struct{ theirs, ours, want string }{
		{`{"a":{"sha":"aaa","id":1}}`, `{"a":{"sha":"bbb","id":2,"more":0}}`, ""},
		{`{"a":{"sha":"aaa"}}`, `{"a":{"sha":"aaa"}}`, ".a.sha is aaa, want aaa"},
		{`{"a":{"b":1}}`, `{"a":{}}`, "no .a.b"},
		{`{"a":{"b":1}}`, `{"a":[]}`, ".a is []interface {}, want an object"},
		{`{"id":1}`, `{"id":"1"}`, ".id is string (1), want float64 (1)"},
		{`{"id":1}`, `{"id":null}`, ".id is <nil> (<nil>), want float64 (1)"},
		{`[{"name":"x"}]`, `[{"name":"y"}]`, "[0].name is y, want x"},
		{`[1]`, `[]`, " has 0 elements, want 1"},
	} {
		var theirs, ours any
		must(t, json.Unmarshal([]byte(tt.theirs), &theirs))
		must(t, json.Unmarshal([]byte(tt.ours), &ours))
		if got := strings.Join(p.differences("", theirs, ours), "; "); got != tt.want {
			t.Errorf("%s beside %s: %q, want %q", tt.theirs, tt.ours, got, tt.want)
		}
	}
}
