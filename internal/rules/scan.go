// SPDX-License-Identifier: Apache-2.0

package rules

import "strings"

type tokenKind uint8

const (
	tokenWord  tokenKind = iota // keyword, number, range, address
	tokenOpen                   // {
	tokenClose                  // }
	tokenComma                  // ,
	tokenNot                    // !=
	tokenEnd                    // end of a rule: newline, ; or end of text
)

// A token with its place in the text; line and column count from 1, columns
// in bytes.
type token struct {
	kind         tokenKind
	text         string
	line, column int
}

// String is the token as an error message shows it.
func (t token) String() string {
	if t.kind == tokenEnd && t.text != ";" {
		return "end of line"
	}
	return t.text
}

// last reports whether it is the end of the text.
func (t token) last() bool {
	return t.kind == tokenEnd && t.text == ""
}

// scanner cuts rule text into tokens. The text of every token is a part of
// the input.
type scanner struct {
	text         string
	line, column int
}

func scan(text string) scanner {
	return scanner{text: strings.TrimPrefix(text, "\ufeff"), line: 1, column: 1}
}

// skipBlank steps over spaces and over a comment, not over a newline.
func (s *scanner) skipBlank() {
	n := 0
	for n < len(s.text) && characters[s.text[n]] == blank {
		n++
	}
	s.advance(n)
	if strings.HasPrefix(s.text, "#") {
		s.advance(lengthUntil(s.text, '\n'))
	}
}

// next reads one token; the last one is a tokenEnd without text.
func (s *scanner) next() token {
	s.skipBlank()
	if s.text == "" {
		return s.token(tokenEnd, 0)
	}
	switch s.text[0] {
	case '\n':
		end := s.token(tokenEnd, 1)
		s.line, s.column = s.line+1, 1
		return end
	case ';':
		return s.token(tokenEnd, 1)
	case '{':
		return s.token(tokenOpen, 1)
	case '}':
		return s.token(tokenClose, 1)
	case ',':
		return s.token(tokenComma, 1)
	case '!':
		return s.not()
	}
	return s.token(tokenWord, s.wordLength())
}

// wordLength is the length of the word ahead. ${NAME} is one word, so that a
// placeholder is reported as a whole.
func (s *scanner) wordLength() int {
	if strings.HasPrefix(s.text, "${") {
		line := s.text[:lengthUntil(s.text, '\n')]
		if n := lengthUntil(line, '}'); n < len(line) {
			return n + 1
		}
	}
	n := 0
	for n < len(s.text) && characters[s.text[n]] == inWord {
		n++
	}
	return n
}

// not reads "!="; a lone "!" becomes a word that no rule expects.
func (s *scanner) not() token {
	if strings.HasPrefix(s.text, "!=") {
		return s.token(tokenNot, 2)
	}
	return s.token(tokenWord, 1)
}

// token cuts n bytes off the text.
func (s *scanner) token(kind tokenKind, n int) token {
	t := token{kind: kind, text: s.text[:n], line: s.line, column: s.column}
	s.advance(n)
	return t
}

func (s *scanner) advance(n int) {
	s.text = s.text[n:]
	s.column += n
}

// lengthUntil is the number of bytes before the first stop character.
func lengthUntil(text string, stop byte) int {
	if n := strings.IndexByte(text, stop); n >= 0 {
		return n
	}
	return len(text)
}

// What a byte is to the scanner.
const (
	inWord = iota
	blank  // between tokens
	mark   // a token by itself, or the beginning of one that is no word
)

var characters = [256]uint8{
	' ': blank, '\t': blank, '\r': blank, '\f': blank, '\v': blank,
	'\n': mark, ';': mark, '{': mark, '}': mark, ',': mark, '!': mark, '#': mark,
}
