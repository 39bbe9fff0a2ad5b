package retest

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mergegate/gate"
)

// dirt is what a test may do to its tree. It ends green.
const dirt = `
exec 2>&1
touch -r inplace $HOME/ref; echo EVIL! > inplace; touch -r $HOME/ref inplace   # same inode, size and mtime
cp -p same copy; echo EVIL! > copy; touch -r same copy; mv copy same
rm gone; rm -r dir/all
mv a swap; mv b a; mv swap b
chmod +x plain; chmod 000 locked
ln hard another-link
rm link; ln -s /etc/passwd link
rm was-file; mkdir was-file; echo EVIL > was-file/x
rm -r was-dir; ln -s /tmp was-dir
mv moved $HOME/away; mkdir moved; echo EVIL! > moved/file
mkdir -p new/deep/er; echo EVIL > new/deep/er/x; chmod 000 new/deep new
mkdir -p .git/hooks; printf '[core]\nfsmonitor = touch /tmp/mergegate-pwned; false\n[filter "x"]\nclean = touch /tmp/mergegate-pwned\n' > .git/config
echo '* filter=x text eol=crlf' > .gitattributes
echo '* filter=x' > dir/.gitattributes
echo EVIL > module/x; rmdir vendor/module
mkfifo pipe; touch "$(printf 'new\nline')" -- -rf '*' index.lock
i=0; while [ $i -lt 300 ]; do mkdir -p deep; cd deep; i=$((i+1)); done
cd /checkout 2>/dev/null || cd "$OLDTREE"
chmod 000 dir; chmod 700 kept
true
`

func dirtyFiles() map[string]string {
	return map[string]string{
		"same": "GOOD!\n", "inplace": "GOOD!\n", "gone": "x\n", "dir/all/1": "1\n", "dir/all/2": "2\n", "dir/stays": "s\n", "a": "a\n", "b": "b\n",
		"plain": "p\n", "locked": "l\n", "hard": "h\n", "link@": "same", "was-file": "f\n", "was-dir/x/y": "y\n",
		"moved/file": "GOOD!\n", "moved/sub/file": "m\n", "kept/file": "k\n", "run*": "#!/bin/sh\n", "dangling@": "/nowhere/at/all",
		"module#": strings.Repeat("1", 40), "vendor/module#": strings.Repeat("2", 40),
	}
}

// Whatever a test does to its tree, the next run finds a clean one, in the same slot.
func TestDirtyTreeIsCleanForTheNextRun(t *testing.T) {
	const list = `find . -printf '%y %m %p %l\n' | sort; find . -type f | sort | xargs cksum; cat link`
	eachRung(t, func(t *testing.T, r *Runner) {
		g := newRepo(t)
		job := g.job(list)
		job.Commit, job.Tree = g.commit(dirtyFiles())
		clean := log(t, r, r.Run(t.Context(), job))
		if !strings.Contains(clean, "l 777 ./link same\n") || !strings.HasSuffix(clean, "GOOD!\n") {
			t.Fatalf("a clean tree:\n%s", clean)
		}
		evil := job
		evil.Command = "OLDTREE=$PWD\n" + dirt
		if res := r.Run(t.Context(), evil); res.Verdict != Passed {
			t.Fatalf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		if again := log(t, r, r.Run(t.Context(), job)); again != clean {
			t.Errorf("after an evil test\n%swant\n%s", again, clean)
		}

		// Also when the next candidate is another commit.
		if res := r.Run(t.Context(), evil); res.Verdict != Passed {
			t.Fatalf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
		files := dirtyFiles()
		delete(files, "was-dir/x/y")
		files["was-dir@"] = "dir"
		delete(files, "was-file")
		files["was-file/now/a/dir"] = "d\n"
		files["same"] = "BEST!\n"
		job.Commit, job.Tree = g.commit(files)
		reused := log(t, r, r.Run(t.Context(), job))
		other := runner(t, t.TempDir(), []rung{r.rung})
		if fresh := log(t, other, other.Run(t.Context(), job)); reused != fresh {
			t.Errorf("in a used work tree\n%sin a new one\n%s", reused, fresh)
		}
		slots, err := filepath.Glob(filepath.Join(r.pool.dir, "*", "index"))
		if err != nil || len(slots) != 1 {
			t.Errorf("work trees: %v %v, want one, used again", slots, err)
		}
		if pwned, _ := filepath.Glob("/tmp/mergegate-pwned"); pwned != nil {
			t.Error("git executed what a test had configured")
		}
		r.pool.wg.Wait()
		if left, err := os.ReadDir(r.pool.bin.path); err != nil || len(left) > 0 {
			t.Errorf("left in the trash: %v %v", left, err)
		}
	})
}

// Two runs of one repository at the same time have a tree each.
func TestConcurrentRuns(t *testing.T) {
	r := runner(t, t.TempDir(), ladder())
	job := newRepo(t).job("echo x >> hello; sleep 0.3; wc -l < hello")
	results := make(chan Result)
	for range 3 {
		go func() { results <- r.Run(t.Context(), job) }()
	}
	for range 3 {
		if res := <-results; res.Tail != "2" {
			t.Errorf("%s %q: %s", res.Verdict, res.Why, res.Tail)
		}
	}
}

// A tree that is not as it was left costs the slot, not the next run.
func TestOddTreeIsReplaced(t *testing.T) {
	r := runner(t, t.TempDir(), ladder())
	g := newRepo(t)
	passed(t, r, g.run(t, r, map[string]string{"a": "1\n"}, "true"))
	r.pool.wg.Wait()
	trees, err := filepath.Glob(filepath.Join(r.pool.dir, "*", "tree", "a"))
	if err != nil || len(trees) != 1 {
		t.Fatal(trees, err)
	}
	if err := os.MkdirAll(filepath.Join(filepath.Dir(trees[0]), "b", "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	passed(t, r, g.run(t, r, map[string]string{"b": "2\n"}, `test "$(cat b)" = 2`))
}

// What attributes say about a file holds in a used work tree too, also for
// files that differ in nothing else.
func TestAttributesInAUsedTree(t *testing.T) {
	r := runner(t, t.TempDir(), ladder())
	g := newRepo(t)
	slots := func() []string {
		r.pool.wg.Wait()
		all, err := filepath.Glob(filepath.Join(r.pool.dir, "*", "index"))
		if err != nil || len(all) != 1 {
			t.Fatalf("work trees: %v %v, want one", all, err)
		}
		return all
	}
	const crlf = `test "$(cat a)" = "$(printf '%s\r')" && test "$(cat b)" = "$(printf 'b\r')"`
	files := map[string]string{".gitattributes": "* text eol=crlf\n", "a": "1\n", "b": "b\n"}
	passed(t, r, g.run(t, r, files, fmt.Sprintf(crlf, "1")))
	first := slots()
	files["a"] = "2\n"
	passed(t, r, g.run(t, r, files, fmt.Sprintf(crlf, "2")+"; rm b"))
	passed(t, r, g.run(t, r, files, fmt.Sprintf(crlf, "2")))
	if now := slots(); now[0] != first[0] {
		t.Errorf("the work tree is %s, want the first one, %s", now[0], first[0])
	}
	files[".gitattributes"] = "* -text\n"
	passed(t, r, g.run(t, r, files, `test "$(cat a)" = 2 && test "$(cat b)" = b`))
}

// Git only ever works in an empty directory: never where a test ran.
func TestGitWorksInEmptyDirectories(t *testing.T) {
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	seen := filepath.Join(bin, "seen")
	script := "#!/bin/sh\nd=${GIT_WORK_TREE:-$PWD}\ntest \"$d\" = / || echo \"$d $(ls -A \"$d\" | wc -l)\" >> " + seen + "\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := runner(t, t.TempDir(), ladder())
	g := newRepo(t)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	passed(t, r, g.run(t, r, map[string]string{"a": "1\n", "b": "b\n"}, "echo x > b; echo x > c"))
	passed(t, r, g.run(t, r, map[string]string{"a": "2\n", "b": "b\n"}, `test "$(cat a b)" = "$(printf '2\nb')" && ! test -e c`))
	trees, err := filepath.Glob(filepath.Join(r.pool.dir, "*", "index"))
	if err != nil || len(trees) != 1 {
		t.Fatalf("work trees: %v %v, want one, used again", trees, err)
	}
	text, err := os.ReadFile(seen)
	if err != nil || strings.Count(string(text), "\n") < 4 {
		t.Fatalf("git was hardly used: %q %v", text, err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, " 0\n") || strings.HasPrefix(line, filepath.Join(filepath.Dir(trees[0]), "tree")) {
			t.Errorf("git worked in %s", line)
		}
	}
}

func TestDirectoryAttributesAreOdd(t *testing.T) {
	tree := t.TempDir()
	inv, err := scan(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(tree, "user.x", []byte("y"), 0); err != nil {
		t.Skip("this file system has no extended attributes:", err)
	}
	if _, err := inv.scrub(tree, &trash{path: t.TempDir()}); err == nil {
		t.Error("an attribute that a test left on a directory went unnoticed")
	}
}

// Directories as deep as the file system allows, without permissions.
func TestTrashTakesAnything(t *testing.T) {
	top := t.TempDir()
	bin := &trash{path: t.TempDir()}
	dir, err := openDir(nil, top)
	if err != nil {
		t.Fatal(err)
	}
	var up []*os.File
	for range 3000 {
		name := strings.Repeat("d", 200)
		if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
			t.Fatal(err)
		}
		sub, err := openDir(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		up = append(up, dir)
		dir = sub
	}
	if err := unix.Symlinkat("/", int(dir.Fd()), "root"); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	for _, d := range slices.Backward(up) {
		if err := d.Chmod(0); err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	if err := bin.tossPath(top); err != nil {
		t.Fatal(err)
	}
	if err := bin.empty(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(bin.path)
	if _, statErr := os.Lstat(top); err != nil || len(left) > 0 || !os.IsNotExist(statErr) {
		t.Errorf("left: %v %v %v", left, err, statErr)
	}
}

// randomTree is a few files over few names, so that files, directories and
// links take each other's place from tree to tree.
func randomTree(rnd *rand.Rand) map[string]string {
	files := map[string]string{"always": "here"}
	names := []string{"a", "b", "c"}
	for range 1 + rnd.IntN(12) {
		p := names[rnd.IntN(3)]
		for range rnd.IntN(3) {
			p = path.Join(p, names[rnd.IntN(3)])
		}
		taken := false
		for other := range files {
			other = strings.TrimRight(other, "*@")
			taken = taken || other == p || strings.HasPrefix(other, p+"/") || strings.HasPrefix(p, other+"/")
		}
		if !taken {
			files[p+[]string{"", "", "*", "@"}[rnd.IntN(4)]] = names[rnd.IntN(3)]
		}
	}
	return files
}

// randomDirt does something to a random place in the tree.
func randomDirt(rnd *rand.Rand, tree string) {
	var all []string
	_ = filepath.WalkDir(tree, func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return nil
	})
	p := all[rnd.IntN(len(all))]
	// Errors only mean that this place cannot be spoiled this way.
	switch rnd.IntN(7) {
	case 0:
		if p != tree {
			_ = os.RemoveAll(p)
		}
	case 1:
		if info, err := os.Lstat(p); err == nil && info.Mode().IsRegular() {
			_ = os.WriteFile(p, []byte("z"), 0o644)
			_ = os.Chtimes(p, info.ModTime(), info.ModTime())
		}
	case 2:
		_ = os.Rename(p, all[rnd.IntN(len(all))])
	case 3:
		_ = os.Symlink("..", filepath.Join(p, "b"))
	case 4:
		_ = os.MkdirAll(filepath.Join(p, "a", "b"), 0o755)
	case 5:
		_ = os.Link(p, filepath.Join(filepath.Dir(p), "c"))
	case 6:
		if info, err := os.Lstat(p); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			_ = os.Chmod(p, os.FileMode(rnd.IntN(0o1000)))
		}
	}
}

// contents describes a tree in the words of repo.commit.
func contents(t *testing.T, tree string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(tree, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(tree, p)
		if e.IsDir() {
			if in, _ := os.ReadDir(p); len(in) == 0 {
				files[name+"/"] = "an empty directory"
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			files[name+"@"], err = os.Readlink(p)
			return err
		}
		if info.Mode()&0o100 != 0 {
			name += "*"
		}
		text, err := os.ReadFile(p)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Any sequence of candidates and of dirt: what a checkout leaves is the candidate's tree.
func TestAnyTreeAfterAnyDirt(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	g := newRepo(t)
	r := runner(t, t.TempDir(), ladder())
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	for round := range rounds {
		files := randomTree(rnd)
		commit, tree := g.commit(files)
		s, err := r.pool.take(t.Context(), gate.Repo{Name: "r"})
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && s.at == "" {
			t.Errorf("round %d: the slot was lost", round)
		}
		if err := s.checkout(t.Context(), g.dir, commit, tree); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := contents(t, s.tree()); !maps.Equal(got, files) {
			t.Fatalf("round %d: %v, want %v", round, got, files)
		}
		if scanned, err := scan(s.tree()); err != nil || !equalInventories(s.inv, scanned) {
			t.Fatalf("round %d: the inventory is not that of the tree: %v\n%v\n%v", round, err, s.inv, scanned)
		}
		for range rnd.IntN(6) {
			randomDirt(rnd, s.tree())
		}
		r.pool.put(s, func(err error) { t.Errorf("round %d: %v", round, err) })
	}
}

// equalInventories compares what scrub relies on.
func equalInventories(a, b inventory) bool {
	return maps.EqualFunc(a, b, func(x, y stamp) bool {
		if x.isDir() && y.isDir() {
			return x.mode == y.mode && x.xattrs == y.xattrs
		}
		return x == y
	})
}

// BenchmarkCheckout50000 checks out the other of two commits that differ in
// five of 50,000 files, in a slot that a test has dirtied and the pool scrubbed.
func BenchmarkCheckout50000(b *testing.B) {
	g := newRepo(b)
	var script strings.Builder
	script.WriteString("commit refs/heads/x\ncommitter a <a@b> 0 +0000\ndata 1\nx\n")
	for i := range 50000 {
		fmt.Fprintf(&script, "M 100644 inline d%03d/e%02d/f%05d\ndata 6\n%05d\n\n", i/500, i/50%10, i, i)
	}
	script.WriteString("commit refs/heads/y\ncommitter a <a@b> 0 +0000\ndata 1\ny\nfrom refs/heads/x\n")
	for i := range 5 {
		fmt.Fprintf(&script, "M 100644 inline d%03d/e00/f%05d\ndata 2\nY\n\n", i*7, i*7*500)
	}
	g.git(script.String(), "fast-import", "--quiet")
	var commits, trees []gate.SHA
	for _, ref := range []string{"refs/heads/x", "refs/heads/y"} {
		commits = append(commits, gate.SHA(g.git("", "rev-parse", ref)))
		trees = append(trees, gate.SHA(g.git("", "rev-parse", ref+"^{tree}")))
	}
	r := runner(b, b.TempDir(), ladder())
	checkout := func(i int) {
		s, err := r.pool.take(b.Context(), gate.Repo{Name: "big"})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.checkout(b.Context(), g.dir, commits[i%2], trees[i%2]); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.WriteFile(filepath.Join(s.tree(), "d001", "e00", "f00500"), []byte("dirty\n"), 0o644); err != nil {
			b.Fatal(err)
		}
		r.pool.put(s, r.warn)
		r.pool.wg.Wait()
		b.StartTimer()
	}
	start := time.Now()
	checkout(0)
	b.Logf("the first checkout, of all files: %s", time.Since(start))
	b.ResetTimer()
	for i := range b.N {
		checkout(i + 1)
	}
}
