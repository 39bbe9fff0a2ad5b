package config

import (
	"fmt"
	"io/fs"
	"os"
)

// LooseFile is a file with a secret that others than its owner can get at.
type LooseFile struct {
	Key       string // such as forges[0].token_file
	Path      string
	Mode      fs.FileMode
	Everybody bool // and not only its group
}

// What says what is wrong, and Mend the command that mends it.
func (l LooseFile) What() string {
	who := "its group"
	if l.Everybody {
		who = "every user of this machine"
	}
	return fmt.Sprintf("%s: %s can be read or changed by %s (mode %#o)", l.Key, l.Path, who, l.Mode)
}

func (l LooseFile) Mend() string { return "chmod 600 " + l.Path }

// String is both.
func (l LooseFile) String() string { return l.What() + ". Run: " + l.Mend() }

// LooseFiles looks at the modes of all files with secrets. A file that is not
// there is not among them. What everybody can read is refused at start; what a
// group can read is a warning, because that is how some platforms hand out secrets.
func (c *Config) LooseFiles() []LooseFile {
	var loose []LooseFile
	look := func(key, path string) {
		if path == "" {
			return
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			loose = append(loose, LooseFile{Key: key, Path: path, Mode: mode, Everybody: mode&0o007 != 0})
		}
	}
	for i, f := range c.Forges {
		at := fmt.Sprintf("forges[%d].", i)
		look(at+"token_file", f.TokenFile)
		look(at+"private_key_file", f.PrivateKeyFile)
		look(at+"webhook_secret_file", f.WebhookSecretFile)
		look(at+"webhook_secret_previous_file", f.WebhookSecretPreviousFile)
	}
	look("pages.token_file", c.Pages.TokenFile)
	return loose
}
