package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"mergegate/internal/near"
)

// Error is one thing that is wrong with a file. It prints as
// "file:line: key: what is wrong. What to do."
type Error struct {
	File    string
	Line    int    // 0 when it is about the whole file
	Key     string // "defaults.retest.timeout"; "" when it is about no key
	Problem string
	Mend    string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	b.WriteString(". " + e.Mend)
	if !strings.HasSuffix(e.Mend, "?") {
		b.WriteString(".")
	}
	return b.String()
}

// document is a file being read: which line each key was on, and what is wrong.
type document struct {
	file  string
	lines map[string]int
	errs  []*Error
}

// wrong notes a mistake at a key. A key that the file does not contain has no line.
func (d *document) wrong(key, mend, problem string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: d.lines[key], Key: key, Problem: fmt.Sprintf(problem, args...), Mend: mend})
}

// err is everything that is wrong, in the order of the lines.
func (d *document) err() error {
	slices.SortStableFunc(d.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(d.errs))
	for i, e := range d.errs {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// syntax matches what the YAML parser says: "yaml: line 3: did not find …".
var syntax = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// decode fills into, a pointer to a struct that already holds the defaults,
// from one YAML document. Only plain YAML is accepted: no anchors, aliases or
// tags, so that a small file cannot grow large and says what it seems to say.
// The parser bounds nesting. A document that is not YAML at all is an error
// here; everything else is collected in the returned document.
func decode(file string, data []byte, into any) (*document, error) {
	d := &document{file: file, lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	err := dec.Decode(&first)
	if errors.Is(err, io.EOF) {
		return d, nil // empty, or only comments
	}
	if err == nil {
		if err = dec.Decode(&second); err == nil {
			return nil, &Error{File: file, Line: second.Line, Problem: "a second YAML document begins", Mend: "Keep one document; remove the line ---"}
		}
	}
	if !errors.Is(err, io.EOF) {
		m := syntax.FindStringSubmatch(err.Error())
		if m == nil {
			return nil, &Error{File: file, Problem: err.Error(), Mend: "Write plain YAML"}
		}
		line, _ := strconv.Atoi(m[1]) // "" is 0: no line
		return nil, &Error{File: file, Line: line, Problem: "not valid YAML: " + m[2], Mend: "Look at this line and the one before it"}
	}
	d.value(first.Content[0], "", reflect.ValueOf(into).Elem())
	return d, d.err()
}

// value decodes one node into one Go value.
func (d *document) value(n *yaml.Node, key string, v reflect.Value) {
	d.lines[key] = n.Line
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.wrong(key, "Write the value out", "YAML anchors and aliases are not supported")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.wrong(key, "Write the plain value", "YAML tags are not supported")
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		d.duration(n, key, v)
	case v.Kind() == reflect.Struct:
		d.structure(n, key, v)
	case v.Kind() == reflect.Map:
		d.texts(n, key, v)
	case v.Kind() == reflect.Slice:
		d.list(n, key, v)
	case v.Kind() == reflect.String && n.ShortTag() == "!!str":
		v.SetString(n.Value)
	case v.Kind() == reflect.String:
		d.expected(n, key, "text", "Put the value in quotes")
	case v.Kind() == reflect.Bool:
		if on, err := strconv.ParseBool(n.Value); n.ShortTag() == "!!bool" && err == nil {
			v.SetBool(on)
			return
		}
		d.expected(n, key, "true or false", "Write true or false, without quotes")
	case v.Kind() == reflect.Int:
		if i, err := strconv.Atoi(n.Value); n.ShortTag() == "!!int" && err == nil {
			v.SetInt(int64(i))
			return
		}
		d.expected(n, key, "a whole number", "Write a number like 3, without quotes")
	default:
		panic("config: no decoding for " + v.Type().String())
	}
}

func (d *document) duration(n *yaml.Node, key string, v reflect.Value) {
	if t, err := time.ParseDuration(n.Value); n.ShortTag() == "!!str" && err == nil {
		v.SetInt(int64(t))
		return
	}
	d.expected(n, key, "a duration", "Write it with a unit, like 90s, 30m or 1h30m")
}

func (d *document) list(n *yaml.Node, key string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.expected(n, key, "a list", "Write it like [one, two]")
		return
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.value(item, fmt.Sprintf("%s[%d]", key, i), all.Index(i))
	}
	v.Set(all)
}

// texts decodes a map from text to text. It replaces the default as a whole.
func (d *document) texts(n *yaml.Node, key string, v reflect.Value) {
	all := map[string]string{}
	d.entries(n, key, func(name, path string, val *yaml.Node) {
		var text string
		d.value(val, path, reflect.ValueOf(&text).Elem())
		all[name] = text
	})
	v.Set(reflect.ValueOf(all))
}

// structure decodes a mapping onto a struct; keys it does not mention keep
// their default.
func (d *document) structure(n *yaml.Node, key string, v reflect.Value) {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := f.Tag.Get("yaml"); name != "" {
			fields[name] = f
		}
	}
	d.entries(n, key, func(name, path string, val *yaml.Node) {
		if f, known := fields[name]; known {
			d.value(val, path, v.FieldByIndex(f.Index))
			return
		}
		names := slices.Sorted(maps.Keys(fields))
		mend := "Known here: " + strings.Join(names, ", ")
		if hint := near.Word(name, names); hint != "" {
			mend = "Did you mean " + hint + "?"
		}
		d.wrong(path, mend, "unknown key")
	})
}

// entries calls do for each entry of a mapping, with the key's own line noted.
func (d *document) entries(n *yaml.Node, key string, do func(name, path string, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.expected(n, key, "keys and values", "Write it like {key: value}, or indent its keys below it")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		path := strings.TrimPrefix(key+"."+k.Value, ".")
		d.lines[path] = k.Line
		switch {
		case k.Kind != yaml.ScalarNode || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 || k.ShortTag() == "!!merge":
			d.wrong(path, "Use plain words as keys", "this kind of key is not supported")
		case seen[k.Value]:
			d.wrong(path, "Keep one of them", "the key appears twice")
		default:
			seen[k.Value] = true
			do(k.Value, path, val)
		}
	}
}

// expected notes a value of the wrong type.
func (d *document) expected(n *yaml.Node, key, what, mend string) {
	d.wrong(key, mend, "expected %s, found %s", what, describe(n))
}

// describe names the kind of a value. It never shows the value: somebody may
// have written a secret where its place belongs.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	default:
		return "text"
	}
}
