<#
.SYNOPSIS
    Tests the way from this organization to the push relay, and says what a failure means. Changes nothing.

.DESCRIPTION
    Three steps: has the configuration reached the Edges (Get-CsManagementStoreReplicationStatus), does the relay answer over
    federation (Test-CsFederatedPartner), does it take a push (Test-CsMcxPushNotification). What the cmdlets print is looked up in
    the list at the end of this script; troubleshooting.md has the same codes with more to do about them.

    Written for PowerShell 2.0. Never run against a real server: read README.md.

.PARAMETER EdgeFqdn
    The internal FQDN of an Edge Server. Without it: every Edge pool of the topology.

.PARAMETER PushUri
    Without it: what the global Mobility Service configuration says.

.PARAMETER RelayFqdn
    Without it: the Access Edge that the allowed domain names, if it names one; else the Edge asks DNS.

.EXAMPLE
    .\Test-PushRelay.ps1

.EXAMPLE
    .\Test-PushRelay.ps1 -EdgeFqdn edge.contoso.local -RelayFqdn relay.push.example.org
#>
#requires -version 2.0
[CmdletBinding()]
param(
    [string] $EdgeFqdn,
    [string] $PushUri,
    [string] $RelayFqdn
)

$ErrorActionPreference = 'Stop'

# What the cmdlets print, as a pattern; its row in troubleshooting.md; what it means.
$Signs = @(
    @('Push Notification request was rejected', 'rejected', 'the IM URL filter refused the push, or the relay did'),
    @('No push subscription', '408', 'the phone has no push subscription: said by the Mobility Service, the relay was not asked'),
    @('event 14517|ID 14517', '14517', 'one name is a hosting provider and a partner''s Access Edge'),
    @('(?<![0-9])1002(?![0-9])|(?<![0-9])1012(?![0-9])', '1002', 'the sender may not use federation'),
    @('(?<![0-9])1005(?![0-9])', '1005', 'no route to the push domain'),
    @('(?<![0-9])1007(?![0-9])', '1007', 'no route to the push domain at the moment'),
    @('(?<![0-9])1008(?![0-9])', '1008', 'no DNS SRV record for the push domain'),
    @('(?<![0-9])1009(?![0-9])', '1009', 'the SRV record names a host outside the push domain'),
    @('(?<![0-9])1010(?![0-9])', '1010', 'the Edge does not trust the certificate of the relay'),
    @('(?<![0-9])1014(?![0-9])', '1014', 'no DNS A record for the relay'),
    @('(?<![0-9])1027(?![0-9])', '1027', 'the request may not go to federated partners'),
    @('(?<![0-9])1034(?![0-9])', '1034', 'the other side closed or answered without saying why'),
    @('(?<![0-9])1047(?![0-9])', '1047', 'TLS with the relay failed: version, cipher suite, or the relay did not like our certificate'),
    @('(?<![0-9])504(?![0-9])', '504', 'the Edge could not reach the relay, or got no answer')
)

function Write-Meaning([string] $Text) {
    $known = $false
    foreach ($sign in $Signs) {
        if ($Text -match $sign[0]) {
            Write-Host "  Means: $($sign[2]). See troubleshooting.md, row $($sign[1])."
            $known = $true
        }
    }
    if (-not $known) { Write-Host '  Not in the list. Run the cmdlet again with -Verbose, and read the Edge''s SIPStack log (troubleshooting.md).' }
}

# Runs one test cmdlet; true when it says Success.
function Test-Step([string] $Name, [scriptblock] $Command) {
    Write-Host $Name
    try {
        $result = & $Command
        $text = $result | Format-List * | Out-String -Width 200
        $passed = @($result | Where-Object { "$($_.Result)" -ne 'Success' }).Count -eq 0
    } catch {
        $text = ''
        for ($problem = $_.Exception; $problem; $problem = $problem.InnerException) { $text += $problem.Message + "`n" }
        $passed = $false
    }
    Write-Host $text.Trim()
    if ($passed) { Write-Host '  Passed.' } else { Write-Meaning $text }
    Write-Host ''
    $passed
}

if (-not (Get-Command 'Test-CsFederatedPartner' -ErrorAction SilentlyContinue)) {
    throw 'Test-CsFederatedPartner is not here. Run this in the Lync Server (Skype for Business Server) Management Shell.'
}
if (-not $PushUri) { $PushUri = "$((Get-CsMcxConfiguration -Identity Global).PushNotificationProxyUri)" }
$domain = $PushUri -replace '^sip:[^@]*@', ''
if (-not $RelayFqdn) {
    foreach ($allowed in @(Get-CsAllowedDomain)) {
        if ("$($allowed.Identity)" -eq $domain) { $RelayFqdn = "$($allowed.ProxyFqdn)" }
    }
}
$edges = @($EdgeFqdn)
if (-not $EdgeFqdn) {
    $edges = @(Get-CsService -EdgeServer | ForEach-Object { "$($_.PoolFqdn)" })
    if ($edges.Count -eq 0) { throw 'The topology has no Edge Server: name the one that carries federation with -EdgeFqdn.' }
}
Write-Host "Pushes go to $PushUri."

$late = @(Get-CsManagementStoreReplicationStatus | Where-Object { -not $_.UpToDate })
foreach ($replica in $late) {
    Write-Host "Not replicated yet: $($replica.ReplicaFqdn). Wait, or: Invoke-CsManagementStoreReplication"
}

$failed = 0
foreach ($edge in $edges) {
    $with = @{ TargetFqdn = $edge; Domain = $domain }
    if ($RelayFqdn) { $with['ProxyFqdn'] = $RelayFqdn }
    if (-not (Test-Step "Test-CsFederatedPartner through $edge to $domain $RelayFqdn" { Test-CsFederatedPartner @with })) { $failed++ }
    if (-not (Test-Step "Test-CsMcxPushNotification through $edge" { Test-CsMcxPushNotification -AccessEdgeFqdn $edge })) { $failed++ }
}
if ($failed -eq 0) {
    Write-Host 'All passed. This says that the relay answers, not that a phone was reached: send yourself a message for that.'
}
exit $failed
