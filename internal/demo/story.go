package demo

// outcome is how a pull request ends.
type outcome string

const (
	landed   outcome = "landed"
	red      outcome = "dropped, its test failed"
	conflict outcome = "dropped, it conflicts with main"
	open     outcome = "still waiting"
)

// change is a pull request of the story, and how it must end.
type change struct {
	branch, title string
	files         map[string]string // by path
	end           outcome
	caughtUp      bool     // mergegate rebased the branch
	says          []string // what mergegate's comment must say; these lines are quoted
	lesson        string   // what a newcomer should have seen
}

// testCommand is the repository's test.
const testCommand = "sh test.sh"

// start is the repository before the story: two commands, a function they share,
// and a test that runs every command. It has CI in the smallest form that can
// be green for two changes and red for both together.
func start() map[string]string {
	return map[string]string{
		".mergegate.yaml": "retest: {command: \"" + testCommand + "\"}\n",
		"README.md":       "# Greetings\n",
		"lib.sh":          "greet() { echo \"Hello, $1!\"; }\n",
		"cmd/world.sh":    ". ./lib.sh\ngreet world\n",
		"test.sh": `for command in cmd/*.sh; do
	sh "$command" >/dev/null || { echo "$command is broken"; exit 1; }
done
`,
	}
}

// story is the five pull requests in the order they are asked for.
func story() []change {
	return []change{{
		branch: "readme", title: "Say how to run the tests",
		files: map[string]string{"README.md": "# Greetings\n\nTest with: " + testCommand + "\n"},
		end:   landed, says: []string{"compared with what was tested, and is the same"},
		lesson: "#1 already contained main: the very commit that was reviewed was tested, and landed.",
	}, {
		branch: "rename", title: "Rename greet to hello",
		files: map[string]string{
			"lib.sh":       "hello() { echo \"Hello, $1!\"; }\n",
			"cmd/world.sh": ". ./lib.sh\nhello world\n",
		},
		end: landed, caughtUp: true, says: []string{"compared with what was tested, and is the same"},
		lesson: "#1 had moved main, so #2 was rebased onto it, tested again as that, and landed as that.",
	}, {
		branch: "moon", title: "Greet the moon",
		files: map[string]string{"cmd/moon.sh": ". ./lib.sh\ngreet moon\n"},
		end:   red, caughtUp: true, says: []string{"Retest failed", "not found", "cmd/moon.sh is broken"},
		lesson: "#3 calls greet, which #2 renamed. No conflict, green alone, red together: main stays green.",
	}, {
		branch: "polite", title: "Greet politely",
		files: map[string]string{"lib.sh": "greet() { echo \"Good day, $1!\"; }\n"},
		end:   conflict, says: []string{"Conflict with main", "| lib.sh | content |"},
		lesson: "#4 edits the line that #2 edited. Its author is told the file; nobody else has to wait.",
	}, {
		branch: "count", title: "Count to three",
		files: map[string]string{"cmd/count.sh": "echo 1 2 3\n"},
		end:   landed, caughtUp: true, says: []string{"compared with what was tested, and is the same"},
		lesson: "#5 did not have to care about any of this: rebased, tested, landed.",
	}}
}

// encore is the pull request that somebody who stays may label.
func encore() change {
	return change{
		branch: "sun", title: "Greet the sun",
		files: map[string]string{"cmd/sun.sh": ". ./lib.sh\nhello sun\n"},
		end:   landed, says: []string{"compared with what was tested, and is the same"},
	}
}
