#!/usr/bin/env perl
# Verifies the DKIM signatures of a message with Mail::DKIM: verify.pl FILE DNS-PORT. One line a signature:
# algorithm, result, detail.
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my ($file, $port) = @ARGV;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
    nameservers => ['127.0.0.1'], port => $port, recurse => 0, udp_timeout => 5, searchlist => [],
));
my $verifier = Mail::DKIM::Verifier->new();
open(my $in, '<:raw', $file) or die "$file: $!";
$verifier->PRINT($_) while <$in>;
$verifier->CLOSE;
for my $signature ($verifier->signatures) {
    printf "%s\t%s\t%s\n", $signature->algorithm, $signature->result, $signature->result_detail;
}
