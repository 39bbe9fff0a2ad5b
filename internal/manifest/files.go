package manifest

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// files are the two secret files while nothing is in them yet.
type files struct{ key, secret *os.File }

// reserve makes both files, empty and readable by their owner only. It never
// opens a file that exists.
func reserve(keyFile, secretFile string) (*files, error) {
	key, err := create(keyFile)
	if err != nil {
		return nil, err
	}
	secret, err := create(secretFile)
	if err != nil {
		key.Close()
		os.Remove(keyFile)
		return nil, err
	}
	return &files{key, secret}, nil
}

func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already; move it away, or name another file", path)
	}
	return f, err
}

// write keeps the secrets, on the disk before it returns.
func (f *files) write(key, secret string) error {
	err := errors.Join(put(f.key, key), put(f.secret, secret))
	if err != nil {
		return fmt.Errorf("keep the App's secrets: %w", err)
	}
	return nil
}

func put(f *os.File, text string) error {
	_, err := f.WriteString(strings.TrimSpace(text) + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// discard removes both files.
func (f *files) discard() {
	for _, file := range []*os.File{f.key, f.secret} {
		file.Close()
		os.Remove(file.Name())
	}
}
