package ghspec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// exchange names the operation and says what is wrong with the request and with
// the answer.
func (j *Judge) exchange(req *http.Request, sent []byte, status int, h http.Header, got []byte) (operation string, asked, answered []error) {
	route, params := j.find(req)
	if route == nil {
		if status == http.StatusNotFound {
			return "", []error{errors.New("GitHub's description has no such operation")}, nil
		}
		return "", nil, []error{errors.New("GitHub's description has no such operation")}
	}
	in := &openapi3filter.RequestValidationInput{
		Request:    withBody(req, sent),
		PathParams: params,
		Route:      route,
		Options: &openapi3filter.Options{
			IncludeResponseStatus:             true,
			RejectWhenRequestBodyNotSpecified: true,
			SkipSettingDefaults:               true,
			AuthenticationFunc:                openapi3filter.NoopAuthenticationFunc,
		},
	}
	operation = route.Operation.OperationID
	return operation, j.request(in, sent), j.answer(in, status, h, got)
}

// request judges what was asked.
func (j *Judge) request(in *openapi3filter.RequestValidationInput, sent []byte) []error {
	var wrong []error
	if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
		wrong = append(wrong, short(err))
	}
	for _, name := range slices.Sorted(maps.Keys(in.Request.URL.Query())) {
		if in.Route.Operation.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) == nil {
			wrong = append(wrong, fmt.Errorf("the operation has no query parameter %q", name))
		}
	}
	if len(sent) == 0 || in.Route.Operation.RequestBody == nil {
		return wrong
	}
	var body any
	if err := json.Unmarshal(sent, &body); err != nil {
		return append(wrong, fmt.Errorf("read the request: %w", err))
	}
	if media := in.Route.Operation.RequestBody.Value.Content.Get("application/json"); media != nil {
		wrong = appendErr(wrong, unknownKeys("request", body, media.Schema.Value))
	}
	return appendErr(wrong, together(in.Route.Operation.OperationID, body))
}

// answer judges what came back.
func (j *Judge) answer(in *openapi3filter.RequestValidationInput, status int, h http.Header, got []byte) []error {
	switch described := in.Route.Operation.Responses.Status(status); {
	case status >= 500:
		return nil // whatever stands in front of GitHub may have said it
	case status == http.StatusNotModified:
		return j.notModified(in.Request, got)
	case described == nil && !anyRequest(status) && !seen(in.Route.Operation.OperationID, status):
		return []error{errors.New("the status is not documented for the operation")}
	case described == nil || len(described.Value.Content) == 0 && len(got) > 0:
		return j.common(in.Route, status, got)
	}
	var wrong []error
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in,
		Status:                 status,
		Header:                 h,
		Body:                   io.NopCloser(bytes.NewReader(got)),
		Options:                in.Options,
	})
	if err != nil {
		wrong = append(wrong, short(err))
	}
	media := in.Route.Operation.Responses.Status(status).Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return wrong
	}
	var body any
	if err := json.Unmarshal(got, &body); err != nil {
		return append(wrong, fmt.Errorf("read the answer: %w", err))
	}
	wrong = appendErr(wrong, unknownKeys("answer", body, media.Schema.Value))
	return appendErr(wrong, meaning(in.Route.Operation.OperationID, status, body))
}

// anyRequest says whether GitHub gives this status to requests of every kind:
// a renamed repository, a bad token, a thing that cannot be seen, a limit.
func anyRequest(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect,
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusTooManyRequests:
		return true
	}
	return false
}

// common judges an answer that is not described for the operation: it must be
// GitHub's plain error object.
func (j *Judge) common(route *routers.Route, status int, got []byte) []error {
	if status < 300 {
		return []error{errors.New("the answer has a body; GitHub's has none")}
	}
	var body any
	if err := json.Unmarshal(got, &body); err != nil {
		return []error{fmt.Errorf("read the answer: %w", err)}
	}
	schema := j.doc.Components.Schemas["basic-error"].Value
	if text(body, "message") == "" {
		return []error{errors.New("an error has a message")}
	}
	var wrong []error
	if err := schema.VisitJSON(body); err != nil {
		wrong = append(wrong, short(err))
	}
	wrong = appendErr(wrong, unknownKeys("answer", body, schema))
	return appendErr(wrong, meaning(route.Operation.OperationID, status, body))
}

// notModified: GitHub says it only to a conditional request, and without a body.
func (j *Judge) notModified(req *http.Request, got []byte) []error {
	var wrong []error
	if req.Header.Get("If-None-Match") == "" && req.Header.Get("If-Modified-Since") == "" {
		wrong = append(wrong, errors.New("304 to a request without a condition"))
	}
	if len(got) > 0 {
		wrong = append(wrong, errors.New("304 has no body"))
	}
	return wrong
}

// withBody is the request with its body to read again.
func withBody(req *http.Request, body []byte) *http.Request {
	again := req.Clone(context.Background())
	again.Body = http.NoBody
	if len(body) > 0 {
		again.Body = io.NopCloser(bytes.NewReader(body))
	}
	return again
}

func appendErr(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

// short is the first line of an error of kin-openapi; the rest is the schema.
func short(err error) error {
	first, _, _ := strings.Cut(err.Error(), "\n")
	if at := (*openapi3.SchemaError)(nil); errors.As(err, &at) && len(at.JSONPointer()) > 0 && !strings.Contains(first, `"/`) {
		first += " at /" + strings.Join(at.JSONPointer(), "/")
	}
	return errors.New(first)
}
