package giteatest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// password is the same for everybody on a throwaway server.
const password = "throwaway-1"

// User is an account. Token has all scopes.
type User struct {
	ID                    int64
	Name, Password, Token string
}

// Unique gives a name that no other test of this server has: prefix and a number.
func (s *Server) Unique(prefix string) string {
	return fmt.Sprintf("%s%d", prefix, s.serial.Add(1))
}

// CreateUser makes an account with a token of all scopes.
func (s *Server) CreateUser(ctx context.Context, name string) (User, error) {
	u := User{Name: name, Password: password}
	err := s.API(ctx, s.AdminToken, http.MethodPost, "/admin/users", map[string]any{
		"username": name, "password": password, "email": name + "@example.test", "must_change_password": false,
	}, &u)
	if err != nil {
		return User{}, err
	}
	u.Token, err = s.Token(ctx, u, "all")
	return u, err
}

// Token makes another token for the user, of the given scopes, for example
// "write:repository".
func (s *Server) Token(ctx context.Context, u User, scopes ...string) (string, error) {
	var out struct {
		SHA1 string `json:"sha1"`
	}
	err := s.call(ctx, http.MethodPost, "/users/"+u.Name+"/tokens",
		map[string]any{"name": s.Unique("token"), "scopes": scopes}, &out,
		func(r *http.Request) { r.SetBasicAuth(u.Name, u.Password) })
	return out.SHA1, err
}

// CreateRepo makes a public repository of the user with one commit on main.
func (s *Server) CreateRepo(ctx context.Context, owner User, name string) error {
	return s.API(ctx, owner.Token, http.MethodPost, "/user/repos",
		map[string]any{"name": name, "auto_init": true, "default_branch": "main"}, nil)
}

// AddCollaborator lets the user into the repository owner/name; permission is
// "read", "write" or "admin".
func (s *Server) AddCollaborator(ctx context.Context, repo, user, permission string) error {
	return s.API(ctx, s.AdminToken, http.MethodPut, "/repos/"+repo+"/collaborators/"+user,
		map[string]string{"permission": permission}, nil)
}

// CloneURL is where git finds the repository owner/name as the user. It
// contains the password: for throwaway servers only.
func (s *Server) CloneURL(u User, repo string) string {
	return strings.Replace(s.URL, "http://", "http://"+u.Name+":"+u.Password+"@", 1) + "/" + repo + ".git"
}

// Failure is an answer outside 2xx.
type Failure struct {
	Status int
	Body   string
	call   string
}

func (e *Failure) Error() string {
	return fmt.Sprintf("%s: Gitea answered %d %s", e.call, e.Status, e.Body)
}

// API calls path (below /api/v1) with the token; "" calls as nobody. It sends in
// as JSON and decodes the answer into out, each unless nil. An answer outside
// 2xx is a *Failure.
func (s *Server) API(ctx context.Context, token, method, path string, in, out any) error {
	return s.call(ctx, method, path, in, out, func(r *http.Request) {
		if token != "" {
			r.Header.Set("Authorization", "token "+token)
		}
	})
}

func (s *Server) call(ctx context.Context, method, path string, in, out any, authorize func(*http.Request)) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	authorize(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return &Failure{resp.StatusCode, strings.TrimSpace(string(data)), method + " " + path}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
