package redact

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

const secret = `p+s/s"w0rd?=<&>é-canary`

// Every way in which a log line could carry the secret.
func TestAttack63LogsAreRedacted(t *testing.T) {
	var known Set
	known.Add(secret)
	for name, show := range map[string]func(*slog.Logger){
		"message":   func(l *slog.Logger) { l.Info("the token is " + secret) },
		"attribute": func(l *slog.Logger) { l.Info("x", "token", secret) },
		"name":      func(l *slog.Logger) { l.Info("x", secret, 1) },
		"error":     func(l *slog.Logger) { l.Info("x", "err", fmt.Errorf("get it: %w", errors.New(secret))) },
		"struct":    func(l *slog.Logger) { l.Info("x", "conf", struct{ Token string }{secret}) },
		"pointer":   func(l *slog.Logger) { l.Info("x", "conf", &struct{ Token []string }{[]string{secret}}) },
		"bytes":     func(l *slog.Logger) { l.Info("x", "body", []byte(secret)) },
		"group":     func(l *slog.Logger) { l.WithGroup("g").Info("x", slog.Group("h", "token", secret)) },
		"with":      func(l *slog.Logger) { l.With("token", secret).Info("x") },
		"basic auth": func(l *slog.Logger) {
			l.Info("x", "header", "Basic "+base64.StdEncoding.EncodeToString([]byte("me:"+secret)))
		},
		"user": func(l *slog.Logger) {
			l.Info("x", "header", base64.StdEncoding.EncodeToString([]byte(secret+":x-oauth")))
		},
		"base64":     func(l *slog.Logger) { l.Info("x", "b", base64.StdEncoding.EncodeToString([]byte(secret))) },
		"url base64": func(l *slog.Logger) { l.Info("x", "b", base64.RawURLEncoding.EncodeToString([]byte("ab"+secret+"cd"))) },
		"query":      func(l *slog.Logger) { l.Info("x", "url", "http://x/?t="+url.QueryEscape(secret)) },
		"user of url": func(l *slog.Logger) {
			l.Info("x", "url", (&url.URL{Scheme: "http", User: url.UserPassword("me", secret), Host: "h"}).String())
		},
		"quoted": func(l *slog.Logger) { l.Info(fmt.Sprintf("%q", secret)) },
	} {
		for format, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(known.Writer(b), nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(known.Writer(b), nil) },
		} {
			var out bytes.Buffer
			show(slog.New(handler(&out)))
			if !strings.Contains(out.String(), Mark) || strings.Contains(out.String(), "w0rd") {
				t.Errorf("%s as %s: %s", name, format, out.String())
			}
		}
	}
}

func TestKeyIsFoundByAnyLine(t *testing.T) {
	var known Set
	lines := []string{"MIIEowIBAAKCAQEAxyzxyzxyzxyz", "abcdefghijklmnopqrstuvwxyz0123"}
	known.Add("-----BEGIN X-----\n" + strings.Join(lines, "\n") + "\n-----END X-----\n")
	for _, l := range lines {
		if got := known.String("say " + l + "!"); got != "say "+Mark+"!" {
			t.Errorf("%q", got)
		}
	}
	if got := known.String("-----BEGIN X-----"); strings.Contains(got, Mark) {
		t.Errorf("a frame is no secret: %q", got)
	}
}

func TestOldSecretsAreForgottenOneDay(t *testing.T) {
	var known Set
	for i := range most + 1 {
		known.Add(fmt.Sprintf("secret-%04d", i))
	}
	if got := known.String("secret-0000 secret-0001 secret-0064"); got != "secret-0000 "+Mark+" "+Mark {
		t.Errorf("%q", got)
	}
}

func TestOrdinaryTextIsLeftAlone(t *testing.T) {
	var known Set
	known.Add("short")
	known.Add(secret)
	known.Add("second-secret")
	const text = "a short line about canaries\n"
	if got := known.String(text); got != text {
		t.Errorf("%q", got)
	}
	if got := known.String(secret + " and second-secret"); got != Mark+" and "+Mark {
		t.Errorf("%q", got)
	}
	var none *Set
	none.Add(secret)
	if got := none.String(text); got != text {
		t.Errorf("%q", got)
	}
}

// The number of bytes is that of the caller, or it would think the write failed.
func TestWriterCountsWhatItWasGiven(t *testing.T) {
	var known Set
	known.Add(secret)
	var out bytes.Buffer
	n, err := known.Writer(&out).Write([]byte(secret + "\n"))
	if n != len(secret)+1 || err != nil || out.String() != Mark+"\n" {
		t.Errorf("%d, %v, %q", n, err, out.String())
	}
}
