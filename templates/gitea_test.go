package templates_test

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mergegate/gate"
	"mergegate/internal/giteatest"
	"mergegate/internal/hostile"
	"mergegate/templates"
)

func TestMain(m *testing.M) { os.Exit(giteatest.Main(m)) }

// On a real Gitea, comments that quote mentions, references and markup notify
// nobody, refer to nothing and link nowhere but where we say. A last comment that
// does both on purpose shows that the test would see it.
func TestAttack89QuotedTextDoesNothingOnGitea(t *testing.T) {
	s, ctx := giteatest.Shared(t), t.Context()
	call := func(token, method, path string, in, out any) {
		t.Helper()
		if err := s.API(ctx, token, method, path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	bot, err := s.CreateUser(ctx, s.Unique("bot"))
	if err != nil {
		t.Fatal(err)
	}
	victim, err := s.CreateUser(ctx, s.Unique("victim"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRepo(ctx, bot, "words"); err != nil {
		t.Fatal(err)
	}
	repo := "/repos/" + bot.Name + "/words"
	var target, place, purpose struct{ Number int }
	call(bot.Token, http.MethodPost, repo+"/issues", map[string]string{"title": "target"}, &target)
	call(bot.Token, http.MethodPost, repo+"/issues", map[string]string{"title": "place"}, &place)
	call(bot.Token, http.MethodPost, repo+"/issues", map[string]string{"title": "on purpose"}, &purpose)

	tag := regexp.MustCompile(`<(?:a|img|script|iframe)\b[^>]*>`)
	number := strconv.Itoa(target.Number)
	attack := append(hostile.Words(),
		"@"+victim.Name, "cc @"+victim.Name+", @"+victim.Name, "(@"+victim.Name+")",
		"#"+number, "fixes #"+number, "closes "+bot.Name+"/words#"+number, "!"+number, "fixes !"+number,
		s.URL+"/"+bot.Name+"/words/issues/"+number, "@"+bot.Name+"/words", strings.Join(hostile.Words(), " "))
	for _, text := range attack {
		v := templates.PRView{
			Line: gate.Line{State: gate.Dropped, Why: []string{text, text}}, Label: text, Answer: text, Tail: text, PageURL: ours,
			Events:   []gate.Happened{{What: text}},
			Conflict: templates.Conflict(templates.ConflictView{Base: text, At: candidate, Subject: text, Files: []templates.ConflictFile{{Path: text}}, Commands: []string{text}}),
		}
		body := templates.PRComment(v) + "\n" + templates.QueueIssue(templates.QueueView{Label: text, Queues: []templates.QueueTable{{
			Base: text, Holder: text, Frozen: &gate.Freeze{By: text, Reason: text},
			Lines: []gate.Line{{PR: 4000, State: gate.Waiting, Why: []string{text}, Base: text, Title: text, Author: text, By: text}},
		}}})
		call(bot.Token, http.MethodPost, repo+"/issues/"+strconv.Itoa(place.Number)+"/comments", map[string]string{"body": body}, nil)
	}
	shown := rendered.FindAllStringSubmatch(page(t, s.URL+"/"+bot.Name+"/words/issues/"+strconv.Itoa(place.Number)), -1)
	if len(shown) != len(attack)+1 { // and the text of the issue
		t.Fatalf("%d comments are shown, want %d", len(shown)-1, len(attack))
	}
	for i, text := range attack {
		for _, found := range tag.FindAllString(shown[i+1][1], -1) {
			if !strings.Contains(found, `href="`+ours+`"`) && !strings.Contains(found, `/words/issues/4000" `) { // the PR of the queue
				t.Errorf("%q becomes %s", text, found)
			}
		}
	}
	call(bot.Token, http.MethodPost, repo+"/issues/"+strconv.Itoa(purpose.Number)+"/comments", map[string]string{"body": "on purpose @" + victim.Name + " #" + number}, nil)

	type timeline []struct {
		Type       string
		RefComment struct{ Body string } `json:"ref_comment"`
	}
	var events timeline
	var notes []struct{ Subject struct{ Title string } }
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && (len(notes) == 0 || len(events) == 0); time.Sleep(50 * time.Millisecond) {
		call(victim.Token, http.MethodGet, "/notifications", nil, &notes)
		call(bot.Token, http.MethodGet, repo+"/issues/"+number+"/timeline", nil, &events)
	}
	if len(notes) != 1 || notes[0].Subject.Title != "on purpose" || len(events) != 1 || !strings.HasPrefix(events[0].RefComment.Body, "on purpose") {
		t.Errorf("notifications %+v and references %+v, want only those on purpose", notes, events)
	}
}

// comments of a page, and where each ends.
var rendered = regexp.MustCompile(`(?s)class="render-content markup"[^>]*>(.*?)<div id="[^"]*-raw"`)

// page is the body of a page of the server, as anybody sees it.
func page(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}
