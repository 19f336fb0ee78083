// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Lets the tests ask ConfigDrive.cs: a command and its arguments in, lines of base64 out. Errors of the class that
// administrators are told about give exit code 3 and their message.

using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Security;
using System.Security.AccessControl;
using System.Text;
using Vmops.ConfigDrive;

public static class Harness
{
    private static void Say(byte[] value)
    {
        Console.WriteLine(value == null ? "-" : "=" + Convert.ToBase64String(value));
    }

    private static void Say(string value)
    {
        Say(value == null ? null : Encoding.UTF8.GetBytes(value));
    }

    private static string Reveal(SecureString secret)
    {
        IntPtr memory = Marshal.SecureStringToGlobalAllocUnicode(secret);
        try
        {
            return Marshal.PtrToStringUni(memory, secret.Length);
        }
        finally
        {
            Marshal.ZeroFreeGlobalAllocUnicode(memory);
        }
    }

    public static int Main(string[] arguments)
    {
        try
        {
            switch (arguments[0])
            {
                case "find": // label, then pairs of root and label
                    List<Volume> volumes = new List<Volume>();
                    for (int i = 2; i < arguments.Length; i += 2)
                    {
                        volumes.Add(new Volume(arguments[i], arguments[i + 1]));
                    }
                    Drive found = Drive.Find(volumes.ToArray(), arguments[1]);
                    Say(found == null ? null : found.Root);
                    return 0;
                case "password":
                    Say(new Drive(arguments[1]).Password());
                    return 0;
                case "user-data":
                    Say(new Drive(arguments[1]).UserData());
                    return 0;
                case "metadata":
                    Say(new Drive(arguments[1]).Metadata(arguments[2]));
                    return 0;
                case "boot": // drive, state file, user, whether setting works: what ConfigDrive.ps1 does with a decision
                    string state = StateFolder.Read(arguments[2]);
                    PasswordDecision decision = PasswordDecision.Make(new Drive(arguments[1]).Password(), state, arguments[3]);
                    if (decision.Password != null && arguments[4] == "works")
                    {
                        StateFolder.Write(arguments[2], decision.NewState);
                    }
                    Say(decision.Password == null ? null : Reveal(decision.Password));
                    return 0;
                case "keys": // drive, file of keys: what ConfigDrive.ps1 does with a decision
                    KeysDecision keys = KeysDecision.Make(new Drive(arguments[1]).Metadata("public-keys"), KeyFile.Read(arguments[2]));
                    if (keys.Content != null)
                    {
                        File.WriteAllBytes(arguments[2], keys.Content);
                    }
                    Say(keys.Taken + " " + keys.LeftOut + (keys.Content == null ? " same" : " new"));
                    return 0;
                case "confirm": // whether something failed, drive, file of its image
                    using (FileStream image = File.OpenRead(arguments[3]))
                    {
                        Say(Confirmation.Line(arguments[1] == "failed", new Drive(arguments[2]).Metadata("instance-id"),
                            Confirmation.DigestOf(image)));
                    }
                    return 0;
                case "rights": // security ids
                    List<string> sids = new List<string>(arguments);
                    FileSecurity security = KeyFile.Security(sids.GetRange(1, sids.Count - 1).ToArray());
                    Say(security.GetSecurityDescriptorSddlForm(AccessControlSections.Access));
                    return 0;
                case "settings":
                    Settings settings = Settings.Parse(File.ReadAllText(arguments[1]));
                    Say(settings.Label);
                    Say(settings.SetPassword.ToString());
                    Say(settings.PasswordUser);
                    Say(settings.SetSshKeys.ToString());
                    Say(string.Join("|", settings.SshKeyUsers));
                    Say(settings.SaveUserData.ToString());
                    Say(settings.WaitSeconds.ToString());
                    return 0;
                case "ready":
                    Say(Volume.Ready().Length.ToString());
                    return 0;
                default:
                    return 2;
            }
        }
        catch (ConfigDriveException problem)
        {
            Console.Error.WriteLine(problem.Message);
            return 3;
        }
    }
}
