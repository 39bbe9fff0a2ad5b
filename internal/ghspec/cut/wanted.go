package main

import (
	"slices"
	"strings"
)

// operations maps paths to methods. It holds what the bot uses, what setting a
// test world up needs, and what the recorded traffic of @octokit/fixtures asks.
func operations() map[string]string {
	const repo = "/repos/{owner}/{repo}"
	return map[string]string{
		"/app":                                 "get",
		"/app/installations":                   "get",
		"/app/installations/{installation_id}": "get",
		"/app/installations/{installation_id}/access_tokens": "post",
		"/app/installations/{installation_id}/suspended":     "put delete",
		"/app/hook/config":                                     "get patch",
		"/app/hook/deliveries":                                 "get",
		"/app/hook/deliveries/{delivery_id}":                   "get",
		"/app/hook/deliveries/{delivery_id}/attempts":          "post",
		"/app-manifests/{code}/conversions":                    "post",
		"/installation/repositories":                           "get",
		"/installation/token":                                  "delete",
		"/orgs/{org}":                                          "get",
		"/orgs/{org}/installation":                             "get",
		"/orgs/{org}/members/{username}":                       "get",
		"/orgs/{org}/repos":                                    "get post",
		"/orgs/{org}/teams/{team_slug}/members":                "get",
		"/orgs/{org}/teams/{team_slug}/memberships/{username}": "get",
		"/meta":                          "get",
		"/rate_limit":                    "get",
		"/user":                          "get",
		"/user/repos":                    "get post",
		"/users/{username}":              "get",
		"/users/{username}/installation": "get",
		"/users/{username}/repos":        "get",
		"/zen":                           "get",

		repo:                                   "get patch",
		repo + "/installation":                 "get",
		repo + "/activity":                     "get",
		repo + "/branches":                     "get",
		repo + "/branches/{branch}":            "get",
		repo + "/branches/{branch}/protection": "get put delete",
		repo + "/branches/{branch}/protection/required_status_checks":  "get",
		repo + "/rules/branches/{branch}":                              "get",
		repo + "/rulesets":                                             "get post",
		repo + "/rulesets/{ruleset_id}":                                "get put delete",
		repo + "/check-runs":                                           "post",
		repo + "/check-runs/{check_run_id}":                            "get patch",
		repo + "/check-runs/{check_run_id}/rerequest":                  "post",
		repo + "/check-suites/{check_suite_id}":                        "get",
		repo + "/collaborators":                                        "get",
		repo + "/collaborators/{username}":                             "get put delete",
		repo + "/collaborators/{username}/permission":                  "get",
		repo + "/commits":                                              "get",
		repo + "/commits/{commit_sha}/pulls":                           "get",
		repo + "/commits/{ref}":                                        "get",
		repo + "/commits/{ref}/check-runs":                             "get",
		repo + "/commits/{ref}/check-suites":                           "get",
		repo + "/commits/{ref}/status":                                 "get",
		repo + "/commits/{ref}/statuses":                               "get",
		repo + "/compare/{basehead}":                                   "get",
		repo + "/contents/{path}":                                      "get put",
		repo + "/git/blobs":                                            "post",
		repo + "/git/commits":                                          "post",
		repo + "/git/commits/{commit_sha}":                             "get",
		repo + "/git/matching-refs/{ref}":                              "get",
		repo + "/git/ref/{ref}":                                        "get",
		repo + "/git/refs":                                             "post",
		repo + "/git/refs/{ref}":                                       "patch delete",
		repo + "/git/trees":                                            "post",
		repo + "/git/trees/{tree_sha}":                                 "get",
		repo + "/hooks":                                                "get post",
		repo + "/hooks/{hook_id}":                                      "get patch delete",
		repo + "/hooks/{hook_id}/deliveries":                           "get",
		repo + "/hooks/{hook_id}/deliveries/{delivery_id}/attempts":    "post",
		repo + "/hooks/{hook_id}/pings":                                "post",
		repo + "/issues":                                               "get post",
		repo + "/issues/comments":                                      "get",
		repo + "/issues/comments/{comment_id}":                         "get patch delete",
		repo + "/issues/comments/{comment_id}/reactions":               "get post",
		repo + "/issues/comments/{comment_id}/reactions/{reaction_id}": "delete",
		repo + "/issues/{issue_number}":                                "get patch",
		repo + "/issues/{issue_number}/comments":                       "get post",
		repo + "/issues/{issue_number}/events":                         "get",
		repo + "/issues/{issue_number}/labels":                         "get post put",
		repo + "/issues/{issue_number}/labels/{name}":                  "delete",
		repo + "/issues/{issue_number}/reactions":                      "get post",
		repo + "/issues/{issue_number}/timeline":                       "get",
		repo + "/labels":                                               "get post",
		repo + "/labels/{name}":                                        "get patch delete",
		repo + "/merges":                                               "post",
		repo + "/pulls":                                                "get post",
		repo + "/pulls/{pull_number}":                                  "get patch",
		repo + "/pulls/{pull_number}/commits":                          "get",
		repo + "/pulls/{pull_number}/files":                            "get",
		repo + "/pulls/{pull_number}/merge":                            "get put",
		repo + "/pulls/{pull_number}/requested_reviewers":              "get",
		repo + "/pulls/{pull_number}/reviews":                          "get post",
		repo + "/pulls/{pull_number}/reviews/{review_id}":              "get",
		repo + "/pulls/{pull_number}/reviews/{review_id}/dismissals":   "put",
		repo + "/pulls/{pull_number}/update-branch":                    "put",
		repo + "/statuses/{sha}":                                       "post",
		"/search/issues":                                               "get",
	}
}

// wanted says whether a schema is a webhook payload the bot may meet.
func wanted(schema string) bool {
	event, ok := strings.CutPrefix(schema, "webhook-")
	if !ok || strings.HasSuffix(event, "-form-encoded") {
		return false
	}
	return slices.ContainsFunc([]string{
		"branch-protection-rule", "check-run", "check-suite", "create", "delete", "installation", "issue-comment",
		"member", "merge-group", "ping", "pull-request", "push", "repository-", "status",
	}, func(prefix string) bool { return strings.HasPrefix(event, prefix) }) &&
		!strings.HasPrefix(event, "repository-advisory") && !strings.HasPrefix(event, "repository-vulnerability") &&
		!strings.HasPrefix(event, "repository-dispatch") && !strings.HasPrefix(event, "pull-request-review-comment")
}
