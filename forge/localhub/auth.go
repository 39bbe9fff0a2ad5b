package localhub

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v4"

	"mergegate/gate"
)

// caller is who asks: a person by a personal token, an installation by its
// token, an App itself by a JWT, or nobody.
type caller struct {
	account *account // whom actions are put down to; nil for nobody and for an App itself
	app     *app     // of an installation or a JWT
	inst    *installation
	expires time.Time // zero: never
}

// login names the caller in the log of exchanges and in rate limits.
func (c *caller) login() string {
	if c.account == nil {
		return ""
	}
	return c.account.login
}

// authenticate finds the caller of a request.
func (h *Hub) authenticate(r *http.Request) (*caller, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return &caller{}, nil
	}
	bad := refused(http.StatusUnauthorized, "Bad credentials")
	scheme, token, _ := strings.Cut(header, " ")
	switch strings.ToLower(scheme) {
	case "basic":
		if _, password, ok := r.BasicAuth(); ok {
			token = password
		}
	case "bearer", "token":
	default:
		return nil, bad
	}
	if strings.Count(token, ".") == 2 && strings.HasPrefix(token, "ey") {
		return h.authenticateApp(token)
	}
	c := h.tokens[token]
	if c == nil || !c.expires.IsZero() && !time.Now().Before(c.expires) {
		return nil, bad
	}
	if c.inst != nil && !c.inst.suspended.IsZero() {
		return nil, refused(http.StatusForbidden, "This installation has been suspended")
	}
	return c, nil
}

// authenticateApp checks an App's JWT: signed with its key, not from the future,
// and good for ten minutes at most.
func (h *Hub) authenticateApp(token string) (*caller, error) {
	var found *app
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"})).ParseWithClaims(token, claims, func(*jwt.Token) (any, error) {
		for _, a := range h.apps {
			if claims.Issuer == strconv.FormatInt(a.ID, 10) || claims.Issuer == clientID(a) {
				found = a
				return &a.private.PublicKey, nil
			}
		}
		return nil, fmt.Errorf("no App %q", claims.Issuer)
	})
	switch {
	case err != nil || found == nil:
		return nil, refused(http.StatusUnauthorized, "A JSON web token could not be decoded")
	case claims.ExpiresAt == nil || time.Until(claims.ExpiresAt.Time) > 10*time.Minute:
		return nil, refused(http.StatusUnauthorized, "'Expiration time' claim ('exp') is too far in the future")
	}
	return &caller{app: found}, nil
}

// installationToken makes a token for an hour.
func (h *Hub) installationToken(i *installation) (string, time.Time) {
	padding := make([]byte, 120)
	_, _ = rand.Read(padding) // never fails
	token := fmt.Sprintf("ghs_%d_%s", i.app.ID, base64.RawURLEncoding.EncodeToString(padding))
	expires := now().Add(time.Hour)
	h.tokens[token] = &caller{account: i.app.bot, app: i.app, inst: i, expires: expires}
	return token, expires
}

// newKey makes an App's key. GitHub's have 2048 bits too.
func newKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// sees says whether the caller can know that the repository exists.
func (h *Hub) sees(c *caller, r *repo) bool {
	switch {
	case !r.private:
		return true
	case c.inst != nil:
		return slices.Contains(c.inst.repos, r)
	}
	return r.role(c.account) >= gate.RoleRead
}

// mayAs says whether the caller may: a person by role, an installation by the
// App's permission on a repository that it is installed on.
func (h *Hub) mayAs(c *caller, r *repo, scope, level string, role gate.Role) bool {
	if c.inst == nil {
		return c.app == nil && (c.account != nil || role <= gate.RoleRead) && r.role(c.account) >= role
	}
	if !slices.Contains(c.inst.repos, r) {
		return level == "read" && role <= gate.RoleRead && !r.private
	}
	has := c.app.permissions[scope]
	return scope == "metadata" || has == level || has == "write" || has == "admin"
}

// allow is mayAs with GitHub's refusals.
func (h *Hub) allow(c *caller, r *repo, scope, level string, role gate.Role) error {
	switch {
	case !h.sees(c, r):
		return notFound()
	case level == "write" && r.archived:
		return refused(http.StatusForbidden, "Repository was archived so is read-only.")
	case h.mayAs(c, r, scope, level, role):
		return nil
	case c.inst != nil || c.app != nil:
		return refused(http.StatusForbidden, "Resource not accessible by integration")
	case c.account == nil:
		return refused(http.StatusUnauthorized, "Requires authentication")
	case role >= gate.RoleAdmin:
		return refused(http.StatusForbidden, "Must have admin rights to Repository.")
	}
	return notFound()
}
