class Clarim < Formula
  desc "Real-time broadcasting server for Pusher clients"
  homepage "https://github.com/clarim/clarim"
  version "{version}"
  license any_of: ["MIT", "Apache-2.0"]

{downloads}

  def install
    bin.install "clarim"
    man1.install Dir["man/*"]
    bash_completion.install "completions/clarim.bash" => "clarim"
    zsh_completion.install "completions/_clarim"
    fish_completion.install "completions/clarim.fish"
  end

  service do
    run [opt_bin/"clarim", "start"]
    keep_alive true
    working_dir var/"clarim"
    log_path var/"log/clarim.log"
    error_log_path var/"log/clarim.log"
  end

  def post_install
    (var/"clarim").mkpath
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/clarim --version")
  end
end
