<?php

namespace Clarim\Laravel;

use PharData;
use RuntimeException;
use Symfony\Component\Process\ExecutableFinder;

/** The program `clarim`: finds or downloads it. */
class Program
{
    public function __construct(
        private ?string $configured,
        private string $folder,
        private string $releases,
    ) {
    }

    public function find(): ?string
    {
        if ($this->configured !== null && $this->configured !== '') {
            if (! is_executable($this->configured)) {
                throw new RuntimeException("LARAVEL_CLARIM_PROGRAM is {$this->configured}, which cannot be executed.");
            }

            return $this->configured;
        }

        return is_executable($this->path()) ? $this->path() : (new ExecutableFinder)->find('clarim');
    }

    /** Downloads a release, compares its checksum, and returns the path of its program. */
    public function download(?string $version = null): string
    {
        $from = $this->releases.($version === null ? '/latest/download' : "/download/v{$version}");
        $name = 'clarim-'.$this->target();
        $sums = $this->get("{$from}/SHA256SUMS");
        if (! preg_match('/^([0-9a-f]{64})  '.preg_quote($name).'\.tar\.gz$/m', $sums, $expected)) {
            throw new RuntimeException("{$from}/SHA256SUMS has no {$name}.tar.gz");
        }
        $archive = $this->get("{$from}/{$name}.tar.gz");
        if (! hash_equals($expected[1], hash('sha256', $archive))) {
            throw new RuntimeException("The checksum of {$name}.tar.gz is wrong; nothing was installed.");
        }
        $this->unpack($archive, $name);

        return $this->path();
    }

    private function unpack(string $archive, string $name): void
    {
        // A name that no other process has, next to the place where the program will be.
        $work = $this->folder.'/new-'.bin2hex(random_bytes(8));
        if (! @mkdir($work, 0755, true)) {
            throw new RuntimeException("Cannot write {$this->folder}.");
        }
        file_put_contents("{$work}/clarim.tar.gz", $archive);
        (new PharData("{$work}/clarim.tar.gz"))->extractTo($work, "{$name}/clarim");
        chmod("{$work}/{$name}/clarim", 0755);
        // In place of a program that may be running.
        rename("{$work}/{$name}/clarim", $this->path());
        rmdir("{$work}/{$name}");
        unlink("{$work}/clarim.tar.gz");
        rmdir($work);
    }

    private function path(): string
    {
        return $this->folder.'/clarim';
    }

    private function target(): string
    {
        $machine = php_uname('m');
        $cpu = ['x86_64' => 'x86_64', 'amd64' => 'x86_64', 'aarch64' => 'aarch64', 'arm64' => 'aarch64'][$machine] ?? null;
        $system = ['Linux' => 'unknown-linux-musl', 'Darwin' => 'apple-darwin'][PHP_OS_FAMILY] ?? null;
        if ($cpu === null || $system === null) {
            throw new RuntimeException("There is no program for {$machine} with ".PHP_OS_FAMILY.'. Build it from source, and set LARAVEL_CLARIM_PROGRAM.');
        }

        return "{$cpu}-{$system}";
    }

    private function get(string $url): string
    {
        $body = @file_get_contents($url);
        if ($body === false) {
            throw new RuntimeException("Cannot download {$url}. Install clarim another way, and set LARAVEL_CLARIM_PROGRAM.");
        }

        return $body;
    }
}
